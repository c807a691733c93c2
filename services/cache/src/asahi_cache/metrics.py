"""The cache's figures for Prometheus, read from the objects that count them when they are asked for."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asahi_cache.domain.attachments import Attachments
from asahi_cache.domain.cache import AnswerCache
from asahi_cache.domain.flights import Flights
from asahi_cache.domain.tiers import Eviction


class MemoryFigures(Protocol):
    """What tier 1 counts."""

    @property
    def entries(self) -> int:
        """Entries kept now."""
        ...

    @property
    def bytes(self) -> int:
        """What they take, overhead included."""
        ...

    @property
    def evicted(self) -> Mapping[Eviction, int]:
        """Entries that left for lack of room."""
        ...

    @property
    def expired(self) -> int:
        """Entries dropped at the end of their time."""
        ...


class EmbedderCounts(Protocol):
    """What the embedding model's queue counts."""

    texts: int
    batches: int
    overloaded: int
    waiting_characters: int


class EmbeddingFigures(Protocol):
    """What the embedding model tells of itself."""

    @property
    def ready(self) -> bool:
        """Whether it is loaded."""
        ...

    @property
    def figures(self) -> EmbedderCounts:
        """What it has done."""
        ...


class SharedFigures(Protocol):
    """What is counted of the Redis that replicas share."""

    @property
    def alone(self) -> bool:
        """Whether this replica goes on without the others."""
        ...

    @property
    def found(self) -> Mapping[str, int]:
        """Lookups answered by tier 1, by where the answer was."""
        ...

    @property
    def unreadable(self) -> int:
        """Values in Redis that read as nothing."""
        ...

    @property
    def failures(self) -> int:
        """Calls of Redis that were not answered."""
        ...


class SimilarCounts(Protocol):
    """What tier 2 counts."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Lookups by what came of them."""
        ...

    @property
    def kept(self) -> int:
        """Questions kept."""
        ...

    @property
    def judged(self) -> int:
        """Audits judged."""
        ...

    @property
    def judged_wrong(self) -> int:
        """Audits whose stored answer was wrong."""
        ...

    @property
    def dropped(self) -> int:
        """Questions and audits lost for lack of room or of a store."""
        ...


class TierTwoFigures(Protocol):
    """What tier 2 tells of itself."""

    @property
    def figures(self) -> SimilarCounts:
        """What it has done."""
        ...

    @property
    def trouble(self) -> str:
        """Why its store is not asked; empty: it is."""
        ...

    @property
    def bounds_exceeded(self) -> int:
        """Organisations' ledgers whose served answers came to be worse than their bound."""
        ...


class CacheCollector(Collector):
    """Labels are bounded: results of a lookup are the tiers and `miss`, causes are those of `Eviction`."""

    def __init__(
        self,
        cache: AnswerCache,
        memory: MemoryFigures,
        flights: Flights,
        attachments: Attachments,
        *,
        embedder: EmbeddingFigures,
        similar: TierTwoFigures | None,
        shared: SharedFigures | None = None,
    ) -> None:
        self._shared = shared
        self._cache = cache
        self._memory = memory
        self._flights = flights
        self._attachments = attachments
        self._embedder = embedder
        self._similar = similar

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        lookups = CounterMetricFamily("asahi_cache_lookups", "Lookups by the tier that answered.", labels=["result"])
        for tier, hits in self._cache.hits.items():
            lookups.add_metric([f"tier_{tier}"], hits)
        similar = self._similar.figures.outcomes.get("served", 0) if self._similar is not None else 0
        if self._similar is not None:
            lookups.add_metric(["tier_2"], similar)
        lookups.add_metric(["miss"], self._cache.misses - similar)
        yield lookups
        evictions = CounterMetricFamily("asahi_cache_evictions", "Entries evicted for lack of room.", labels=["cause"])
        for cause, count in self._memory.evicted.items():
            evictions.add_metric([cause.value], count)
        yield evictions
        yield CounterMetricFamily(
            "asahi_cache_expired", "Entries dropped at the end of their time.", self._memory.expired
        )
        yield GaugeMetricFamily("asahi_cache_entries", "Entries in memory.", self._memory.entries)
        yield GaugeMetricFamily("asahi_cache_bytes", "Bytes that entries in memory take.", self._memory.bytes)
        yield from self._flight_figures()
        yield from self._embedding_figures()
        if self._shared is not None:
            yield from self._shared_figures(self._shared)
        if self._similar is not None:
            yield from self._similar_figures(self._similar)

    def _flight_figures(self) -> Iterator[Metric]:
        flights = self._flights
        yield GaugeMetricFamily("asahi_cache_attached_edges", "Edges that are attached.", len(self._attachments))
        yield GaugeMetricFamily("asahi_cache_flights", "Flights under way.", len(flights))
        yield GaugeMetricFamily("asahi_cache_flight_followers", "Who follow a flight now.", flights.followers)
        yield GaugeMetricFamily("asahi_cache_flight_bytes", "Bytes that answers under way take.", flights.bytes)
        yield CounterMetricFamily("asahi_cache_flights_led", "Flights that there have been.", flights.led)
        yield CounterMetricFamily("asahi_cache_flights_followed", "Times that a flight was followed.", flights.followed)
        yield CounterMetricFamily("asahi_cache_flights_interrupted", "Flights without an end.", flights.interrupted)
        yield CounterMetricFamily("asahi_cache_flights_overloaded", "Flights too long to follow.", flights.overloaded)

    def _embedding_figures(self) -> Iterator[Metric]:
        counted = self._embedder.figures
        ready = int(self._embedder.ready)
        yield GaugeMetricFamily("asahi_embedding_ready", "1 where the local embedding model is loaded.", ready)
        yield CounterMetricFamily("asahi_embedding_texts", "Texts embedded by the local model.", counted.texts)
        yield CounterMetricFamily("asahi_embedding_batches", "Batches that they were embedded in.", counted.batches)
        yield CounterMetricFamily(
            "asahi_embedding_overloaded", "Calls refused since too much waited.", counted.overloaded
        )
        yield GaugeMetricFamily(
            "asahi_embedding_waiting_characters", "Characters that wait to be embedded.", counted.waiting_characters
        )

    def _shared_figures(self, shared: SharedFigures) -> Iterator[Metric]:
        alone = "Whether this replica goes on without Redis and the other replicas."
        yield GaugeMetricFamily("asahi_cache_alone", alone, int(shared.alone))
        found = CounterMetricFamily("asahi_cache_found", "Tier 1 hits by where the answer was.", labels=["where"])
        for where, count in shared.found.items():
            found.add_metric([where], count)
        yield found
        yield CounterMetricFamily("asahi_cache_unreadable", "Values in Redis that read as nothing.", shared.unreadable)
        yield CounterMetricFamily("asahi_cache_redis_failures", "Calls of Redis without an answer.", shared.failures)

    def _similar_figures(self, similar: TierTwoFigures) -> Iterator[Metric]:
        counted = similar.figures
        outcomes = CounterMetricFamily(
            "asahi_semantic_lookups", "Lookups of tier 2 by what came of them.", labels=["outcome"]
        )
        for outcome, count in counted.outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield CounterMetricFamily("asahi_semantic_questions_kept", "Questions kept for tier 2.", counted.kept)
        yield CounterMetricFamily("asahi_semantic_audits", "Audits of tier 2 judged.", counted.judged)
        yield CounterMetricFamily("asahi_semantic_audits_wrong", "Audits that were wrong.", counted.judged_wrong)
        yield CounterMetricFamily(
            "asahi_semantic_dropped", "Questions and audits lost for lack of room or of a store.", counted.dropped
        )
        yield GaugeMetricFamily(
            "asahi_semantic_bounds_exceeded",
            "Organizations' ledgers whose served answers came to be worse than their bound, until proven anew.",
            similar.bounds_exceeded,
        )
        yield GaugeMetricFamily(
            "asahi_semantic_store_up", "1 where the store of questions is asked.", int(not similar.trouble)
        )
