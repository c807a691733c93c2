"""Whether inference can be served, and what is wrong if not."""

import asyncio
from dataclasses import dataclass

from asahi_core.errors import AsahiError
from asahi_edge.domain.ports import Catalog, Probe
from asahi_edge.domain.usage import UsageDelivery

_NEEDED = ("auth", "router")
_HELPFUL = {
    "cache": "does not answer: every request asks a provider, nothing is stored",
    "billing": "does not answer: usage waits at the edge until it does",
}


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the installation."""

    status: str
    """`healthy`, `degraded` or `unhealthy`."""
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """The installation as this edge sees it."""

    status: str
    """`unhealthy` only when inference cannot be served."""
    components: dict[str, Component]


class HealthCheck:
    """Asks every service and the router's catalog."""

    def __init__(self, probe: Probe, catalog: Catalog, usage: UsageDelivery) -> None:
        self._probe = probe
        self._catalog = catalog
        self._usage = usage

    async def check(self) -> Health:
        """The state of every component now."""
        names = [*_NEEDED, *_HELPFUL]
        serving = dict(zip(names, await asyncio.gather(*map(self._probe.serving, names)), strict=True))
        components = {"edge": Component("healthy", "serves HTTP")}
        components |= {name: _component(name, serving[name]) for name in names}
        if serving["billing"] and not self._usage.reachable:
            components["billing"] = Component("degraded", f"{self._usage.backlog} usage records wait for delivery")
        components["providers"] = await self._providers()
        states = {component.status for component in components.values()}
        worst = next((s for s in ("unhealthy", "degraded") if s in states), "healthy")
        return Health(worst, components)

    async def _providers(self) -> Component:
        try:
            models = (await self._catalog.list_models()).models
        except AsahiError:
            return Component("unhealthy", "unknown: the router does not answer")
        providers = sorted({model.provider for model in models if model.provider})
        if not providers:
            return Component("unhealthy", "none configured: set OPENAI_API_KEY for the router")
        if "simulator" in providers:
            return Component("healthy", "simulator: answers are simulated, no provider key is set")
        return Component("healthy", ", ".join(providers))


def _component(name: str, serving: bool) -> Component:
    if serving:
        return Component("healthy", "serves")
    if name in _HELPFUL:
        return Component("degraded", _HELPFUL[name])
    return Component("unhealthy", "does not answer")
