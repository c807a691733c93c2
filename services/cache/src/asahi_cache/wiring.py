"""Builds the cache service's objects: the only place that knows which tiers there are and of what they are made."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server
from asahi.cache.v1.responses_pb2_grpc import add_StoredResponseServiceServicer_to_server
from asahi_cache.api.servicer import CacheServicer
from asahi_cache.api.stored_response_servicer import StoredResponseServicer
from asahi_cache.domain.attachments import Attachments
from asahi_cache.domain.cache import AnswerCache
from asahi_cache.domain.embedding import ModelMissing
from asahi_cache.domain.flights import FlightLimits, Flights
from asahi_cache.domain.replays import Replays
from asahi_cache.domain.shared import SharedTier, Withdrawal
from asahi_cache.domain.shared_flights import SharedFlights
from asahi_cache.domain.stored_responses import StoredResponses
from asahi_cache.metrics import CacheCollector
from asahi_cache.settings import CacheSettings
from asahi_cache.stores.database import CacheDatabase
from asahi_cache.stores.embedder import LocalEmbedder
from asahi_cache.stores.leases import LEASE_S
from asahi_cache.stores.memory import MemoryTier
from asahi_cache.stores.opening import SCHEMA, locate, open_database
from asahi_cache.stores.replays import SqlReplayStore
from asahi_cache.stores.shared_redis import CALL_S, SharedRedis, open_redis
from asahi_cache.stores.stored_responses import SqlStoredResponses
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError
from asahi_core.ids import Ids
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.server import serve
from asahi_core.sql.databases import Database
from asahi_core.telemetry import Tracing

if TYPE_CHECKING:
    from asahi_cache.stores.minilm import MiniLm

__all__ = ["SCHEMA", "CacheService", "build", "database", "load_model", "run"]
_SWEEP_EVERY_S = 10.0
_RENEW_EVERY_S = LEASE_S / 4
_DRAIN_S = 2.0
"""At the end, seconds for flights under way, since new ones cannot begin."""


@dataclass(frozen=True, slots=True)
class CacheService:
    """The service's objects, put together."""

    servicer: CacheServicer
    response_servicer: StoredResponseServicer
    collector: CacheCollector
    memory: MemoryTier
    flights: Flights
    replays: Replays
    embedder: LocalEmbedder
    responses: StoredResponses
    database: CacheDatabase
    """Whoever ran the service closes it."""
    redis: SharedRedis | None
    """None: no other replica shares anything with this one."""
    shared: SharedTier | None
    """Tier 1 over the replicas."""
    shared_flights: SharedFlights | None
    """Flights over the replicas."""


def build(
    settings: CacheSettings,
    clock: Clock,
    ids: Ids,
    random: Callable[[], float],
    log: FilteringBoundLogger,
    *,
    redis_call_s: float = CALL_S,
) -> CacheService:
    """The service as `settings` say. `random` yields numbers in [0, 1); `redis_call_s`: the longest wait for Redis.

    Raises:
        OSError: the database cannot be used.
    """
    database_url = settings.database_url.get_secret_value()
    opened = open_database(settings.data_dir, database_url, migrate_first=settings.migrate_at_start)
    replays = Replays(SqlReplayStore(opened), clock)
    responses = StoredResponses(SqlStoredResponses(opened), clock)
    memory = MemoryTier(clock, max_bytes=settings.cache_max_bytes, organization_share=settings.cache_organization_share)
    process_id = ids.token(12)
    url = settings.redis_url.get_secret_value()
    redis = open_redis(url, clock, log, process_id, call_s=redis_call_s) if url else None
    shared = None if redis is None else SharedTier(memory, redis.entries, redis.withdrawals, clock)
    attachments = Attachments(settings.cache_edge_queue)
    limits = FlightLimits(lifetime_s=settings.cache_flight_seconds, max_bytes=settings.cache_flight_bytes)
    flights = Flights(attachments, clock, process_id, limits)
    cache = AnswerCache(
        [shared or memory],
        default_ttl_s=settings.cache_ttl_seconds,
        max_entry_bytes=settings.max_entry_bytes,
        random=random,
        withdraw=flights.withdraw,
        clock=clock,
        waits=shared is not None,
    )
    embedder = LocalEmbedder(
        lambda: _load_wanted(settings.embedding_threads), max(settings.embedding_threads, 1), settings.embedding_queue
    )
    if shared is not None and redis is not None:
        _let_hear(shared, redis, cache, attachments)
    figures = None if redis is None or shared is None else _Figures(shared, redis)
    collector = CacheCollector(cache, memory, flights, attachments, embedder, shared=figures)
    shared_flights = None if redis is None else SharedFlights(flights, redis.leases, settings.advertised_address)
    return CacheService(
        CacheServicer(cache, flights, replays, embedder, shared_flights=shared_flights),
        StoredResponseServicer(responses),
        collector,
        memory,
        flights,
        replays,
        embedder,
        responses,
        opened,
        redis,
        shared,
        shared_flights,
    )


def database(settings: CacheSettings) -> Database:
    """Where requests that are made once and stored responses are; raises OSError as `database_at` does."""
    return locate(settings.data_dir, settings.database_url.get_secret_value())


class _Figures:
    """`SharedFigures` of the objects that count them."""

    def __init__(self, shared: SharedTier, redis: SharedRedis) -> None:
        self._redis = redis
        self._shared = shared

    @property
    def alone(self) -> bool:
        return self._shared.alone

    @property
    def found(self) -> Mapping[str, int]:
        return self._shared.found

    @property
    def unreadable(self) -> int:
        return self._redis.entries.unreadable

    @property
    def failures(self) -> int:
        return self._redis.breaker.failed


def _let_hear(shared: SharedTier, redis: SharedRedis, cache: AnswerCache, attachments: Attachments) -> None:
    """Has what other replicas withdraw dropped here and at the edges, and these know how Redis is."""

    async def drop(withdrawal: Withdrawal) -> None:
        with cache.invalidating(withdrawal.selection):
            await cache.withdraw_copies(withdrawal.selection, await shared.hear(withdrawal))

    def notice() -> None:
        shared.notice()
        attachments.tell_degraded(*(("redis",) if shared.alone else ()))

    redis.withdrawals.on_withdrawn = drop
    redis.withdrawals.on_turn = notice
    shared.on_forgotten = attachments.withdraw_all


def load_model(threads: int) -> "MiniLm":
    """The embedding model; one call of it uses `threads` threads.

    Raises:
        ModelMissing: the extra `semantic` is not installed, or a file is not the one that was reviewed.
    """
    try:
        from asahi_cache.stores.minilm import MiniLm  # noqa: PLC0415 - the service runs without the extra
    except ImportError as error:
        raise ModelMissing(f"{error}; install asahi-cache[semantic]") from error
    return MiniLm(threads)


def _load_wanted(threads: int) -> "MiniLm":
    if not threads:
        raise ModelMissing("ASAHI_EMBEDDING_THREADS is 0")
    return load_model(threads=1)


async def run(service: CacheService, settings: CacheSettings, log: FilteringBoundLogger, stop: asyncio.Event) -> None:
    """Serves until `stop` is set.

    Raises:
        OSError: the address cannot be listened on.
    """
    tracing = Tracing("cache", settings.otlp_endpoint, settings.trace_ratio)
    loading = asyncio.create_task(_load_embedder(service.embedder, log))
    sweeping = asyncio.create_task(_sweep(service, log))
    draining = asyncio.create_task(_drain(service.flights, stop))
    sharing = None if service.redis is None else asyncio.create_task(_share(service))
    try:
        await serve(
            settings.grpc_address,
            [
                lambda server: add_CacheServiceServicer_to_server(service.servicer, server),
                lambda server: add_StoredResponseServiceServicer_to_server(service.response_servicer, server),
            ],
            stop=stop,
            grace_s=settings.shutdown_grace_seconds,
            tracing=tracing,
            log=log,
            identity=identity_of(settings),
            health_address=settings.health_address,
            max_connection_age_s=None,  # an edge's flights live as long as its standing connection
        )
    finally:
        loading.cancel()
        sweeping.cancel()
        draining.cancel()
        service.embedder.close()
        if sharing is not None and service.redis is not None:
            sharing.cancel()
            await service.redis.close()
        await asyncio.to_thread(service.database.close)
        tracing.close()


async def _load_embedder(embedder: LocalEmbedder, log: FilteringBoundLogger) -> None:
    try:
        await embedder.load()
    except ModelMissing as error:
        log.warning("embedding_off", reason=str(error))
    else:
        log.info("embedding_ready", model=embedder.model)


async def _share(service: CacheService) -> None:
    """Keeps what is shared through Redis going, until cancelled."""
    async with asyncio.TaskGroup() as group:
        if service.redis is not None:
            group.create_task(service.redis.run())
        while service.shared_flights is not None:
            await asyncio.sleep(_RENEW_EVERY_S)
            await service.shared_flights.renew()


async def _sweep(service: CacheService, log: FilteringBoundLogger) -> None:
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        service.flights.sweep()
        await service.memory.sweep()
        try:
            await service.replays.expire()
            await service.responses.expire()
        except AsahiError as error:
            log.warning("database_not_swept", error=error.message)


async def _drain(flights: Flights, stop: asyncio.Event) -> None:
    await stop.wait()
    await flights.drain(_DRAIN_S)
