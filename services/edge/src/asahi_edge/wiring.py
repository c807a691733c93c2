"""Builds the edge: the only place that knows which class stands behind which interface."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import REGISTRY
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from asahi.inference.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from asahi_core.clock import Clock, SystemClock
from asahi_core.errors import AsahiError
from asahi_core.ids import SystemIds
from asahi_core.money import nanos_from_dollars
from asahi_core.prices import OrganizationPrices, load_price_book
from asahi_core.prices.following import SERVICE as PRICES
from asahi_core.prices.following import PriceFollower
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.methods import AddServicer
from asahi_core.telemetry import Tracing
from asahi_edge.api.app import ROUTERS, build_app
from asahi_edge.api.direct_routes import directly
from asahi_edge.api.door import Door
from asahi_edge.api.inference_servicer import InferenceServicer
from asahi_edge.api.rpc_door import RpcDoor
from asahi_edge.api.scope import RequestScope
from asahi_edge.api.services import EdgeServices
from asahi_edge.clients import alerts, analytics, auth, billing, cache, reconciliation, responses, router
from asahi_edge.clients.cache_attachment import CacheAttachment
from asahi_edge.clients.health import HealthClient
from asahi_edge.clients.prices import PricesClient
from asahi_edge.domain.address_limits import AddressLimit
from asahi_edge.domain.admission import Admission
from asahi_edge.domain.body_budget import BodyBudget
from asahi_edge.domain.budgets import KnownPlans
from asahi_edge.domain.congestion import Congestion
from asahi_edge.domain.embeddings import Embeddings
from asahi_edge.domain.flight_calls import FlightLimits
from asahi_edge.domain.flights import FlightBoard
from asahi_edge.domain.health import HealthCheck
from asahi_edge.domain.holds import BudgetedLedger, Holds
from asahi_edge.domain.key_use import KeyUseReport
from asahi_edge.domain.leads import Leads
from asahi_edge.domain.limited_pipeline import LimitedPipeline
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.pilot import Pilot
from asahi_edge.domain.pipeline import Pipeline
from asahi_edge.domain.prefixes import Prefixes
from asahi_edge.domain.quotes import Quotes
from asahi_edge.domain.replays import Replays
from asahi_edge.domain.shadows import Shadows
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.domain.verdicts import Verdicts
from asahi_edge.domain.workflows import Workflows
from asahi_edge.settings import EdgeSettings, networks_in
from asahi_edge.stores.limits_memory import MemoryLimits
from asahi_edge.stores.metrics import AdmissionCollector, UsageCollector
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import DiskSpool, SpoolOptions

if TYPE_CHECKING:
    from asahi_edge.stores.limits_shared import SharedLimits

_GOVERNANCE_TIMEOUT_S = 10.0
_HOLD_BACK_S = 0.5
"""So that sixteen connections that forge keys as fast as they can cost a core some percent."""
_ANALYTICS_TIMEOUT_S = 15.0
_DRAIN_S = 5.0
_CONNECT_S = 3.0
_LAST_REPORT_S = 1.0


@dataclass(frozen=True, slots=True)
class Edge:
    """What the edge serves."""

    app: ASGIApp
    """HTTP."""
    door: Door
    """What decides on its requests for inference first."""
    add_servicer: AddServicer
    """The same pipeline over gRPC."""
    rpc_door: RpcDoor
    """What reads the messages of its calls."""


@asynccontextmanager
async def edge(
    settings: EdgeSettings, stop: asyncio.Event, tracing: Tracing, log: FilteringBoundLogger
) -> AsyncIterator[Edge]:
    """The edge with everything behind it running. Leaving ends flights and delivers the usage that still waits."""
    clock, ids, prices = SystemClock(), SystemIds(), OrganizationPrices(load_price_book())
    async with AsyncExitStack() as stack:
        channels = await _open_channels(settings, stack)
        auth_client = auth.AuthClient(channels.auth)
        router_client = router.RouterClient(channels.router)
        stack.push_async_callback(router_client.close)
        billing_client = billing.BillingClient(channels.billing, settings.reserve_timeout_seconds)
        plans, holds = KnownPlans(), Holds(billing_client, clock, log)
        follower = PriceFollower(channels.prices, prices)
        spool = await stack.enter_async_context(_open_spool(settings, clock, log))
        usage = UsageDelivery(
            BudgetedLedger(billing_client, plans, holds),
            spool,
            prices=prices,
            clock=clock,
            random=Random(),
            log=log,
            orphan_settle_s=settings.orphan_settle_seconds,
            longest_call_s=settings.request_timeout_seconds + 60,
        )
        REGISTRY.register(UsageCollector(usage, spool))
        attachment = CacheAttachment(channels.cache, ids.request_id(), clock, log, Random())
        cache_client = cache.CacheClient(
            channels.cache, attachment, settings.cache_timeout_seconds, channels.open_cache_replica
        )
        stack.push_async_callback(cache_client.close)
        admission, bodies = Admission(settings.max_concurrent), BodyBudget(settings.all_bodies_bytes)
        congestion = Congestion(admission, clock, log)
        REGISTRY.register(AdmissionCollector(admission, bodies))
        near, board, leads = NearCache(clock, settings.near_cache_bytes), FlightBoard(), Leads(cache_client)
        shadows = Shadows(
            router=router_client,
            usage=usage,
            holds=holds,
            plans=plans,
            prices=prices,
            clock=clock,
            random=Random(),
            most=settings.shadow_questions,
            log=log,
        )
        pilot = Pilot(
            cache=cache_client,
            router=router_client,
            usage=usage,
            holds=holds,
            plans=plans,
            prices=prices,
            near=near,
            board=board,
            leads=leads,
            prefixes=Prefixes(clock),
            on_decided=congestion.was_decided,
            on_answered=shadows.answered,
            limits=FlightLimits(
                flight_s=settings.request_timeout_seconds,
                drain_s=settings.drain_seconds,
                drain_nanos=nanos_from_dollars(Decimal(str(settings.drain_cost))),
                similar_characters=settings.similar_characters,
            ),
            clock=clock,
            log=log,
        )
        attachment.on_withdrawn, attachment.on_missed = near.withdraw, near.clear
        attachment.on_wanted, attachment.on_unwanted = leads.want, leads.unwant
        shared = await _open_shared_limits(settings, stack, clock, log)
        flown = Pipeline(
            cache=cache_client, near=near, board=board, pilot=pilot, usage=usage, prices=prices, clock=clock
        )
        pipeline = LimitedPipeline(
            Workflows(flown, usage, clock),
            Embeddings(pipeline=flown, cache=cache_client, near=near, usage=usage, prices=prices, clock=clock),
            shared or MemoryLimits(clock),
            admission,
        )
        key_use = KeyUseReport(auth_client, clock, log)
        verdicts = Verdicts(
            auth_client,
            clock,
            fresh_s=settings.auth_fresh_seconds,
            grace_s=settings.auth_grace,
            unknown_keys=AddressLimit("unknown keys", settings.unknown_keys_per_minute, clock),
            hold_back_s=_HOLD_BACK_S,
            report=key_use,
        )
        probe = HealthClient({name: getattr(channels, name) for name in ("auth", "cache", "router", "billing")})
        replays = Replays(cache_client, log)
        quotes = Quotes(cache_client, near, router_client)
        services = EdgeServices(
            pipeline=pipeline,
            verdicts=verdicts,
            governance=auth_client,
            ledger=billing_client,
            analytics=analytics.AnalyticsClient(channels.analytics),
            reconciliations=reconciliation.ReconciliationClient(channels.reconciliation),
            prices=PricesClient(channels.prices, follower),
            alerts=alerts.AlertsClient(channels.alerts),
            cache=cache_client,
            catalog=router_client,
            counter=router_client,
            outcomes=router_client,
            quotes=quotes,
            replays=replays,
            responses=responses.ResponsesClient(channels.responses),
            usage=usage,
            health=HealthCheck(
                probe,
                router_client,
                usage,
                verdicts.any_in_grace,
                redis=None if shared is None else lambda: shared.reachable,
                cache_without=lambda: attachment.degraded,
                cache_parts=cache_client.condition,
            ),
            clock=clock,
            signups=AddressLimit("signups", settings.signups_per_minute, clock),
            trusted_proxies=networks_in(settings.trusted_proxies),
            admin_secret=settings.admin_secret.get_secret_value(),
            max_body_bytes=settings.max_body_bytes,
            bodies=bodies,
            started=clock.monotonic(),
        )
        app = RequestScope(
            directly(build_app(services, stop), ROUTERS),
            ids=ids,
            tracing=tracing,
            log=log,
            timeout_s=settings.request_timeout_seconds,
            max_header_bytes=settings.max_header_bytes,
        )
        servicer = InferenceServicer(pipeline, replays, quotes)
        rpc_door = RpcDoor(verdicts, admission, bodies, ids, settings.request_timeout_seconds)
        delivering = asyncio.create_task(usage.run())
        await _connect(channels)
        await _take_prices(follower)
        watching = [] if shared is None else [shared.watch()]
        async with _running(
            services.health.start(),
            attachment.run(),
            auth.watch_verdicts(channels.auth, verdicts, log),
            key_use.run(),
            congestion.run(),
            follower.follow(log),
            holds.run(),
            *watching,
        ):
            yield Edge(
                app,
                Door(admission, verdicts),
                lambda server: add_InferenceServiceServicer_to_server(servicer, server),
                rpc_door,
            )
            await pilot.close(_DRAIN_S)
            await shadows.close(_LAST_REPORT_S)
            await replays.close(_LAST_REPORT_S)
        await key_use.close(_LAST_REPORT_S)
        await holds.close(_LAST_REPORT_S)
        await usage.close(_DRAIN_S)
        await delivering


@dataclass(frozen=True, slots=True)
class _Channels:
    auth: ServiceChannel
    cache: ServiceChannel
    open_cache_replica: Callable[[str], ServiceChannel]
    responses: ServiceChannel
    router: ServiceChannel
    billing: ServiceChannel
    analytics: ServiceChannel
    reconciliation: ServiceChannel
    prices: ServiceChannel
    alerts: ServiceChannel


async def _open_channels(settings: EdgeSettings, stack: AsyncExitStack) -> _Channels:
    identity = identity_of(settings)

    async def channel(name: str, target: str, service: ServiceDescriptor, timeout_s: float) -> ServiceChannel:
        opened = ServiceChannel(name, target, service, timeout_s=timeout_s, identity=identity)
        return await stack.enter_async_context(opened)

    return _Channels(
        auth=await channel("auth", settings.auth_target, auth.SERVICE, _GOVERNANCE_TIMEOUT_S),
        cache=await channel("cache", settings.cache_target, cache.SERVICE, settings.request_timeout_seconds),
        open_cache_replica=lambda address: ServiceChannel(
            "cache", address, cache.SERVICE, timeout_s=settings.request_timeout_seconds, identity=identity
        ),
        responses=await channel("cache", settings.cache_target, responses.SERVICE, _GOVERNANCE_TIMEOUT_S),
        router=await channel("router", settings.router_target, router.SERVICE, settings.request_timeout_seconds),
        billing=await channel("billing", settings.billing_target, billing.SERVICE, _GOVERNANCE_TIMEOUT_S),
        analytics=await channel("billing", settings.billing_target, analytics.SERVICE, _ANALYTICS_TIMEOUT_S),
        alerts=await channel("billing", settings.billing_target, alerts.SERVICE, _GOVERNANCE_TIMEOUT_S),
        prices=await channel("billing", settings.billing_target, PRICES, _GOVERNANCE_TIMEOUT_S),
        reconciliation=await channel("billing", settings.billing_target, reconciliation.SERVICE, _GOVERNANCE_TIMEOUT_S),
    )


async def _connect(channels: _Channels) -> None:
    """Waits a little for the other services, so that the first request finds them; does without who is not there."""
    connecting = [
        asyncio.ensure_future(channel.channel_ready())
        for channel in (channels.auth, channels.cache, channels.router, channels.billing)
    ]
    _, late = await asyncio.wait(connecting, timeout=_CONNECT_S)
    for task in late:
        task.cancel()


async def _take_prices(prices: PriceFollower) -> None:
    """Learns organisations' own prices before the first request; without billing list prices hold at first."""
    with suppress(AsahiError, TimeoutError):
        await asyncio.wait_for(prices.refresh(), _CONNECT_S)


async def _open_shared_limits(
    settings: EdgeSettings, stack: AsyncExitStack, clock: Clock, log: FilteringBoundLogger
) -> "SharedLimits | None":
    url = settings.redis_url.get_secret_value()
    if not url:
        return None
    from asahi_edge.stores.limits_shared import shared_limits  # noqa: PLC0415 - 7 MB, where there is a Redis

    return await stack.enter_async_context(shared_limits(url, clock, log))


def _open_spool(
    settings: EdgeSettings, clock: Clock, log: FilteringBoundLogger
) -> AbstractAsyncContextManager[DiskSpool]:
    options = SpoolOptions(
        max_bytes=settings.spool_max_bytes,
        persistent=settings.spool_persistent,
        sync_always=settings.spool_sync == "always",
    )
    return open_spool(settings.data_dir / "spool", clock, log, options)


@asynccontextmanager
async def _running(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `coroutines` beside what is inside, and ends those that do not end by themselves."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        yield
        for task in tasks:
            task.cancel()
