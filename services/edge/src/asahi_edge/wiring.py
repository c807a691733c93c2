"""Builds the edge: the only place that knows which class stands behind which interface."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from asahi_core.clock import SystemClock
from asahi_core.ids import SystemIds
from asahi_core.prices import load_price_book
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.telemetry import Tracing
from asahi_edge.api.app import build_app
from asahi_edge.api.scope import RequestScope
from asahi_edge.api.services import EdgeServices
from asahi_edge.clients import auth, billing, cache, router
from asahi_edge.clients.health import HealthClient
from asahi_edge.domain.health import HealthCheck
from asahi_edge.domain.pipeline import Pipeline
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.domain.verdicts import Verdicts
from asahi_edge.settings import EdgeSettings

_GOVERNANCE_TIMEOUT_S = 10.0
_DRAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Channels:
    auth: ServiceChannel
    cache: ServiceChannel
    router: ServiceChannel
    billing: ServiceChannel


@asynccontextmanager
async def edge(
    settings: EdgeSettings, stop: asyncio.Event, tracing: Tracing, log: FilteringBoundLogger
) -> AsyncIterator[ASGIApp]:
    """The edge's application, with everything behind it running. Leaving delivers the usage that still waits."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        channels = await _open_channels(settings, stack)
        auth_client = auth.AuthClient(channels.auth)
        router_client = router.RouterClient(channels.router)
        billing_client = billing.BillingClient(channels.billing)
        usage = UsageDelivery(billing_client, log)
        pipeline = Pipeline(
            cache=cache.CacheClient(channels.cache, settings.cache_timeout_seconds),
            router=router_client,
            usage=usage,
            prices=load_price_book(),
            clock=clock,
        )
        probe = HealthClient({name: getattr(channels, name) for name in ("auth", "cache", "router", "billing")})
        services = EdgeServices(
            pipeline=pipeline,
            verdicts=Verdicts(auth_client, clock, fresh_s=settings.auth_fresh_seconds, grace_s=settings.auth_grace),
            governance=auth_client,
            ledger=billing_client,
            usage=usage,
            health=HealthCheck(probe, router_client, usage),
            clock=clock,
            admin_secret=settings.admin_secret.get_secret_value(),
            max_body_bytes=settings.max_body_bytes,
            started=clock.monotonic(),
        )
        delivering = asyncio.create_task(usage.run())
        yield RequestScope(
            build_app(services, stop),
            ids=SystemIds(),
            tracing=tracing,
            log=log,
            timeout_s=settings.request_timeout_seconds,
        )
        await usage.close(_DRAIN_S)
        await delivering


async def _open_channels(settings: EdgeSettings, stack: AsyncExitStack) -> _Channels:
    async def channel(name: str, target: str, service: ServiceDescriptor, timeout_s: float) -> ServiceChannel:
        return await stack.enter_async_context(ServiceChannel(name, target, service, timeout_s=timeout_s))

    return _Channels(
        auth=await channel("auth", settings.auth_target, auth.SERVICE, _GOVERNANCE_TIMEOUT_S),
        cache=await channel("cache", settings.cache_target, cache.SERVICE, settings.cache_timeout_seconds),
        router=await channel("router", settings.router_target, router.SERVICE, settings.request_timeout_seconds),
        billing=await channel("billing", settings.billing_target, billing.SERVICE, _GOVERNANCE_TIMEOUT_S),
    )
