"""Builds the cache service's objects: the only place that knows which tiers there are and of what they are made."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server
from asahi.cache.v1.responses_pb2_grpc import add_StoredResponseServiceServicer_to_server
from asahi_cache import upkeep
from asahi_cache.api.semantic import SemanticDesk
from asahi_cache.api.servicer import CacheServicer
from asahi_cache.api.stored_response_servicer import StoredResponseServicer
from asahi_cache.domain.attachments import Attachments
from asahi_cache.domain.cache import AnswerCache
from asahi_cache.domain.embedding import LOCAL_DIMENSIONS, LOCAL_MODEL, ModelMissing
from asahi_cache.domain.flights import FlightLimits, Flights
from asahi_cache.domain.replays import Replays
from asahi_cache.domain.semantic.equivalence import shipped_judge
from asahi_cache.domain.semantic.evidence_log import Evidence
from asahi_cache.domain.semantic.neighbours import StoreUnavailable, VectorStore
from asahi_cache.domain.semantic.similar import SimilarAnswers
from asahi_cache.domain.semantic.verifier import shipped_verifier
from asahi_cache.domain.shared import CALL_S, SharedTier, Withdrawal
from asahi_cache.domain.shared_flights import LEASE_S, SharedFlights
from asahi_cache.domain.stored_responses import StoredResponses
from asahi_cache.metrics import CacheCollector
from asahi_cache.settings import MOST_QUESTIONS, CacheSettings
from asahi_cache.stores.database import CacheDatabase
from asahi_cache.stores.embedder import LocalEmbedder
from asahi_cache.stores.evidence import SqlEvidenceStore
from asahi_cache.stores.guarded_questions import GuardedQuestions
from asahi_cache.stores.heard_place import HeardPlace
from asahi_cache.stores.memory import MemoryTier
from asahi_cache.stores.opening import SCHEMA, locate, open_database
from asahi_cache.stores.replays import SqlReplayStore
from asahi_cache.stores.stored_responses import SqlStoredResponses
from asahi_core.clock import Clock
from asahi_core.ids import Ids
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.server import serve
from asahi_core.sql.databases import Database
from asahi_core.telemetry import Tracing

if TYPE_CHECKING:
    from asahi_cache.stores.minilm import MiniLm
    from asahi_cache.stores.shared_redis import SharedRedis

__all__ = ["SCHEMA", "CacheService", "build", "database", "load_model", "run"]
_RENEW_EVERY_S = LEASE_S / 4
_EMBED_S = 0.15
"""Longest that a lookup waits for an embedding: less than edges wait for the lookup."""


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
    evidence: Evidence
    tier_two: "TierTwo"
    database: CacheDatabase
    """Whoever ran the service closes it."""
    redis: "SharedRedis | None"
    """None: no other replica shares anything with this one."""
    shared: SharedTier | None
    """Tier 1 over the replicas."""
    shared_flights: SharedFlights | None
    """Flights over the replicas."""


@dataclass(frozen=True, slots=True)
class TierTwo:
    """Tier 2, where it is there."""

    similar: SimilarAnswers | None = None
    questions: GuardedQuestions | None = None
    heard: HeardPlace | None = None
    """Up to where what other replicas withdrew is dropped; None: its store is theirs as well."""
    off: str = ""
    """Why it is not, a clause."""


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
    redis = _open_redis(url, clock, log, process_id, call_s=redis_call_s) if url else None
    shared = None if redis is None else SharedTier(memory, redis.entries, redis.withdrawals, clock)
    attachments = Attachments(settings.cache_edge_queue, shared=redis is not None)
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
    figures = None if redis is None or shared is None else _Figures(shared, redis)
    shared_flights = None if redis is None else SharedFlights(flights, redis.leases, settings.advertised_address)
    evidence = Evidence(
        SqlEvidenceStore(opened), _rule(), shipped_judge().misses, random, clock, shared_by=settings.evidence_sharers
    )
    tier_two = _tier_two(settings, cache, embedder=embedder, evidence=evidence, clock=clock, log=log)
    if shared is not None and redis is not None:
        _let_hear(shared, redis, cache, attachments, tier_two=tier_two, log=log)
    desk = SemanticDesk(tier_two.similar, evidence, embedder, tier_two.off)
    return CacheService(
        servicer=CacheServicer(cache, flights, replays, embedder, semantic=desk, shared_flights=shared_flights),
        response_servicer=StoredResponseServicer(responses),
        collector=CacheCollector(
            cache, memory, flights, attachments, embedder=embedder, similar=tier_two.similar, shared=figures
        ),
        memory=memory,
        flights=flights,
        replays=replays,
        embedder=embedder,
        evidence=evidence,
        tier_two=tier_two,
        responses=responses,
        database=opened,
        redis=redis,
        shared=shared,
        shared_flights=shared_flights,
    )


def database(settings: CacheSettings) -> Database:
    """Where requests that are made once and stored responses are; raises OSError as `database_at` does."""
    return locate(settings.data_dir, settings.database_url.get_secret_value())


def _open_redis(url: str, clock: Clock, log: FilteringBoundLogger, replica: str, *, call_s: float) -> "SharedRedis":
    from asahi_cache.stores.shared_redis import open_redis  # noqa: PLC0415 - 7 MB, where there is a Redis

    return open_redis(url, clock, log, replica, call_s=call_s)


class _Figures:
    """`SharedFigures` of the objects that count them."""

    def __init__(self, shared: SharedTier, redis: "SharedRedis") -> None:
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


def _let_hear(
    shared: SharedTier,
    redis: "SharedRedis",
    cache: AnswerCache,
    attachments: Attachments,
    *,
    tier_two: TierTwo,
    log: FilteringBoundLogger,
) -> None:
    """Has what other replicas withdraw dropped here and at the edges, and these know how Redis is."""
    similar = tier_two.similar

    async def drop(withdrawal: Withdrawal) -> bool:
        with cache.invalidating(withdrawal.selection):
            await cache.withdraw_copies(withdrawal.selection, await shared.hear(withdrawal))
        return similar is None or await told(similar.drop(withdrawal.selection))

    async def drop_all() -> bool:
        return similar is None or await told(similar.drop_all())

    async def told(dropping: Coroutine[None, None, None]) -> bool:
        try:
            await dropping
        except StoreUnavailable as error:  # their answers are gone
            log.warning("questions_not_dropped", error=str(error))
            return False
        return True

    def notice() -> None:
        shared.notice()
        attachments.tell_degraded(*(("redis",) if shared.alone else ()))

    redis.withdrawals.on_withdrawn = drop
    if tier_two.heard is not None:
        redis.withdrawals.on_unknown = drop_all
        redis.withdrawals.go_on_from(tier_two.heard)
    redis.withdrawals.on_turn = notice
    shared.on_forgotten = attachments.withdraw_all


def open_questions(folder: Path, url: str, api_key: str, most: int = MOST_QUESTIONS) -> VectorStore:
    """Stored questions: at the Qdrant server `url`, or if that is empty in `folder`, at most `most`.

    Raises:
        ImportError: the extra `semantic` is not installed.
        StoreUnavailable: the folder cannot be opened.
    """
    if url:
        from asahi_cache.stores.qdrant_server import ServerQuestions  # noqa: PLC0415 - it costs 1 s and 60 MB

        return ServerQuestions(url, api_key, LOCAL_MODEL, LOCAL_DIMENSIONS)
    from asahi_cache.stores.qdrant_embedded import EmbeddedQuestions  # noqa: PLC0415 - as above

    return EmbeddedQuestions(folder, LOCAL_MODEL, LOCAL_DIMENSIONS, most)


def questions_folder(data_dir: Path) -> Path:
    """Where the embedded store of questions lies."""
    return data_dir / "questions"


def _tier_two(
    settings: CacheSettings,
    cache: AnswerCache,
    *,
    embedder: LocalEmbedder,
    evidence: Evidence,
    clock: Clock,
    log: FilteringBoundLogger,
) -> TierTwo:
    if not settings.embedding_threads:
        return TierTwo(off="there is no embedding model, ASAHI_EMBEDDING_THREADS is 0")
    try:
        store = open_questions(
            questions_folder(settings.data_dir),
            settings.qdrant_url,
            settings.qdrant_api_key.get_secret_value(),
            settings.questions_most,
        )
    except (ImportError, StoreUnavailable) as error:
        reason = f"{error}; install asahi-cache[semantic]" if isinstance(error, ImportError) else str(error)
        log.warning("semantic_off", reason=reason)
        return TierTwo(off=reason)
    questions = GuardedQuestions(store, settings.qdrant_wait_seconds, log)
    similar = SimilarAnswers(
        store=questions,
        embedder=embedder,
        answers=cache.find,
        evidence=evidence,
        verifier=shipped_verifier(),
        judge=shipped_judge(),
        clock=clock,
        embed_s=_EMBED_S,
        trouble=questions.trouble,
    )
    heard = None if settings.qdrant_url else HeardPlace(questions_folder(settings.data_dir) / "heard")
    return TierTwo(similar, questions, heard)


def _rule() -> str:
    """Names what decides: evidence that was gathered with another verifier, lexicon, judge or model says nothing."""
    digest = hashlib.sha256(LOCAL_MODEL.encode())
    for name in ("verifier.json", "lexicon.json", "equivalence.json", "forms.json"):
        digest.update(files("asahi_cache.domain.semantic").joinpath(name).read_bytes())
    return digest.hexdigest()[:16]


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
    similar, questions = service.tier_two.similar, service.tier_two.questions
    tasks = [
        asyncio.create_task(upkeep.load_model(service.embedder.load, service.embedder.model, log)),
        asyncio.create_task(
            upkeep.sweep(service.flights, service.memory.sweep, service.replays, service.responses, log)
        ),
        asyncio.create_task(upkeep.sweep_tier_two(service.evidence, similar, log)),
        asyncio.create_task(upkeep.drain(service.flights, stop)),
    ]
    if similar is not None and questions is not None:
        tasks.append(asyncio.create_task(upkeep.learn(similar, questions.watch, log)))
    if service.redis is not None and service.shared_flights is not None:
        tasks.append(asyncio.create_task(upkeep.share(service.redis.run, service.shared_flights, _RENEW_EVERY_S)))
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
            longest_call_s=None,  # an edge's flights live as long as its standing connection
        )
    finally:
        await upkeep.settle_tier_two(service.evidence, similar, log)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        service.embedder.close()
        if questions is not None:
            await questions.close()
        if service.redis is not None:
            await service.redis.close()
        await asyncio.to_thread(service.database.close)
        tracing.close()
