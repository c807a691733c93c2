"""Whether inference can be served, and what is wrong if not."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import GetConditionResponse
from asahi.router.v1.router_pb2 import Model, ModelHealth
from asahi_core.errors import AsahiError, ServiceUnavailable
from asahi_edge.domain.ports import Catalog, Probe
from asahi_edge.domain.usage import UsageDelivery

_SERVICES = ("auth", "router", "cache", "billing")
_NEEDED = ("auth", "router")
"""Without them a new edge, which knows no key yet and has no copies, can answer nothing."""
_STARTED_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.25
_WITHIN_S = 1.0
"""How long the router may take to list its models."""
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the installation."""

    status: str
    """`healthy`; `degraded`: inference goes on without it; `unhealthy`: it does not."""
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """The installation as this edge sees it."""

    status: str
    """`unhealthy` only when inference cannot be served."""
    components: dict[str, Component]


def _nobody() -> bool:
    return False


async def _no_parts() -> Sequence[GetConditionResponse.Part]:
    return ()


class HealthCheck:
    """Asks every service, the router's catalog, and the edge's own spool; all at once, within a second or so."""

    def __init__(
        self,
        probe: Probe,
        catalog: Catalog,
        usage: UsageDelivery,
        keys_in_grace: Callable[[], bool] = _nobody,
        *,
        redis: Callable[[], bool] | None = None,
        cache_without: Callable[[], Collection[str]] = tuple,
        cache_parts: Callable[[], Awaitable[Sequence[GetConditionResponse.Part]]] = _no_parts,
    ) -> None:
        """Needs to be told what it cannot ask.

        `keys_in_grace`: whether any key would be let in without the auth service. `redis`: whether it is asked for
        limits; None: none is configured. `cache_without`: stores that the cache does without at the moment.
        `cache_parts`: how the parts behind the cache are that it can do without.
        """
        self.started = False
        """Whether start-up is over: from then on callers may be sent here."""
        self._cache_without = cache_without
        self._cache_parts = cache_parts
        self._probe = probe
        self._catalog = catalog
        self._usage = usage
        self._keys_in_grace = keys_in_grace
        self._redis = redis

    async def start(self) -> None:
        """Returns when the start-up is over: the needed services have answered once, or not within half a minute."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STARTED_WITHIN_S):
                while not all(await asyncio.gather(*map(self._probe.serving, _NEEDED))):  # noqa: ASYNC110 - asks others
                    await asyncio.sleep(_LOOK_AGAIN_S)
        self.started = True

    async def check(self) -> Health:
        """The state of every component now."""
        asking = asyncio.gather(*map(self._probe.serving, _SERVICES))
        models, parts = await asyncio.gather(self._models(), self._parts())
        serves = dict(zip(_SERVICES, await asking, strict=True))
        components = {
            "edge": self._edge(),
            "auth": self._auth(serves=serves["auth"]),
            "router": _needed(serves=serves["router"]),
            "cache": _cache(serves=serves["cache"]),
            "billing": self._billing(serves=serves["billing"]),
            "providers": _providers(models),
        }
        limits_share, cache_shares = self._redis is None or self._redis(), "redis" not in self._cache_without()
        if self._redis is not None or not cache_shares:
            components["redis"] = _redis(limits_share=limits_share, cache_shares=cache_shares)
        components |= parts
        states = {component.status for component in components.values()}
        worst = next((s for s in ("unhealthy", "degraded") if s in states), "healthy")
        return Health(worst, components)

    async def _parts(self) -> dict[str, Component]:
        try:
            async with asyncio.timeout(_WITHIN_S):
                parts = await self._cache_parts()
        except (AsahiError, TimeoutError):
            return {}  # `cache` says that it does not answer
        return {part.name: Component("healthy" if part.works else "degraded", part.detail) for part in parts}

    async def _models(self) -> list[Model] | None:
        """The catalog; None: the router does not tell."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                return list((await self._catalog.list_models()).models)
        except (AsahiError, TimeoutError):
            return None

    def _edge(self) -> Component:
        try:
            self._usage.admit()
        except ServiceUnavailable as error:
            return Component("unhealthy", error.message)
        return Component("healthy", "serves HTTP and gRPC")

    def _auth(self, *, serves: bool) -> Component:
        if serves:
            return Component("healthy", "serves")
        if self._keys_in_grace():
            return Component("degraded", "does not answer: only keys that were seen lately are let in")
        return Component("unhealthy", "does not answer: no key can be verified")

    def _billing(self, *, serves: bool) -> Component:
        waiting = self._usage.backlog
        if not serves:
            return Component("degraded", f"does not answer: usage waits at the edge until it does ({waiting} records)")
        if not self._usage.reachable:
            return Component("degraded", f"takes no usage at the moment: {waiting} records wait at the edge")
        return Component("healthy", "serves")


def _redis(*, limits_share: bool, cache_shares: bool) -> Component:
    if limits_share and cache_shares:
        return Component("healthy", "shares what replicas have in common")
    alone = ["each edge counts rate limits by itself"] if not limits_share else []
    alone += ["the cache answers from each replica's own memory"] if not cache_shares else []
    return Component("degraded", f"does not answer: {', '.join(alone)}")


def _needed(*, serves: bool) -> Component:
    if serves:
        return Component("healthy", "serves")
    return Component("unhealthy", "does not answer: only what the cache has is answered")


def _cache(*, serves: bool) -> Component:
    if serves:
        return Component("healthy", "serves")
    return Component("degraded", "does not answer: every request asks a provider, nothing is stored")


def _providers(models: list[Model] | None) -> Component:
    if models is None:
        return Component("degraded", "unknown: the router did not list its models within a second")
    served = [model for model in models if model.provider]
    if not served:
        return Component("unhealthy", "none: set OPENAI_API_KEY or ANTHROPIC_API_KEY for the router")
    names = sorted({model.provider for model in served})
    told = ", ".join(names)
    if "simulator" in names:
        told += ": answers are simulated, no provider key is set"
    failing = [model.id for model in served if model.health == ModelHealth.MODEL_HEALTH_UNAVAILABLE]
    if not failing:
        return Component("healthy", told)
    if len(failing) == len(served):
        return Component("unhealthy", f"{told}; all models failed too often lately and are not asked for a while")
    shown = ", ".join(failing[:_MOST_NAMED]) + (", …" if len(failing) > _MOST_NAMED else "")
    return Component("degraded", f"{told}; failed too often lately and are not asked for a while: {shown}")
