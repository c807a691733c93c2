"""The figures that every analytics answer is made of, and what one usage record adds to them."""

from dataclasses import dataclass, fields

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.rules import TOKEN_FIELDS


@dataclass(slots=True)
class Figures:
    """Exact sums over some of an organisation's records. Money in nano-dollars; unknown prices are in none of it."""

    cost_nanos: int = 0
    overhead_nanos: int = 0
    orphan_nanos: int = 0
    original_nanos: int = 0
    compared_nanos: int = 0
    """The cost of the records that `original_nanos` covers; savings are the difference."""
    saved_nanos: int = 0
    """What a technique saved; 0 except where the figures are of one."""
    requests: int = 0
    """Answered ones, each once. The figures below to `latency_ms` are of the records that answered them."""
    tier_1_hits: int = 0
    tier_2_hits: int = 0
    tier_3_hits: int = 0
    coalesced: int = 0
    latency_ms: float = 0.0
    calls: int = 0
    """Provider calls."""
    errors: int = 0
    """Records that ended with an error."""
    price_unknown_calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def savings_nanos(self) -> int:
        """What was saved where the cost without Asahi is known."""
        return self.original_nanos - self.compared_nanos

    @property
    def cache_hits(self) -> int:
        """Requests answered from the cache."""
        return self.tier_1_hits + self.tier_2_hits + self.tier_3_hits

    def add(self, other: "Figures") -> None:
        """Adds `other` to these."""
        self.add_parts(other.parts())

    def parts(self) -> list[tuple[str, float]]:
        """The figures that are not 0, by name: most of a record's are."""
        return [(name, value) for name in FIGURES if (value := getattr(self, name))]

    def add_parts(self, parts: list[tuple[str, float]]) -> None:
        """Adds what `parts` said of other figures."""
        for name, value in parts:
            setattr(self, name, getattr(self, name) + value)


FIGURES = tuple(field.name for field in fields(Figures))
_TIERS = {1: "tier_1_hits", 2: "tier_2_hits", 3: "tier_3_hits"}


def figures_of(record: UsageRecord, *, repeats_answer: bool) -> Figures:
    """What one record adds. `repeats_answer`: its request was answered by another one before."""
    usage = record.usage
    figures = Figures(
        cost_nanos=record.cost_nanos,
        overhead_nanos=record.cost_overhead_nanos,
        orphan_nanos=record.cost_nanos if record.orphan else 0,
        calls=1 if record.attempt else 0,
        errors=1 if record.error_code else 0,
        price_unknown_calls=1 if record.price_unknown and record.attempt else 0,
        **{name: getattr(usage, name) for name in TOKEN_FIELDS},
    )
    if record.HasField("cost_original_nanos"):
        figures.original_nanos, figures.compared_nanos = record.cost_original_nanos, record.cost_nanos
    if record.answered and not repeats_answer:
        figures.requests, figures.latency_ms = 1, record.latency_ms
        if record.coalesced:
            figures.coalesced = 1
        elif record.cache_tier:
            setattr(figures, _TIERS[record.cache_tier], 1)
    return figures
