"""What records add up to: a request with its calls, and an organisation's summary."""

from collections.abc import Sequence

from asahi.billing.v1.billing_pb2 import GetCostSummaryResponse, Inference, Saving, TierSummary, UsageRecord
from asahi.type.v1.usage_pb2 import Usage
from asahi_billing.domain.rules import TOKEN_FIELDS
from asahi_billing.domain.store import Totals

_CACHE_TECHNIQUE = "cache_tier_"


def inference(records: Sequence[UsageRecord]) -> Inference:
    """The request whose records, in order of attempts, are `records`; at least one.

    It is shown by the record that answered, or by its last call. Should two claim to have answered, by the later one.
    """
    shown = max(records, key=lambda record: (record.answered, not record.purpose, record.attempt))
    return Inference(
        record=shown,
        total_cost_nanos=sum(record.cost_nanos for record in records),
        calls=sum(1 for record in records if record.attempt),
    )


def cost_summary(totals: Totals) -> GetCostSummaryResponse:
    """`totals` in the words of the contract."""
    figures, tiers = totals.figures, _tiers(totals)
    by_size = sorted(totals.savings.items(), key=lambda saving: (-saving[1], saving[0]))
    return GetCostSummaryResponse(
        total_cost_nanos=figures.cost_nanos,
        overhead_cost_nanos=figures.overhead_nanos,
        orphan_cost_nanos=figures.orphan_nanos,
        cost_original_nanos=figures.original_nanos,
        compared_cost_nanos=figures.compared_nanos,
        total_requests=figures.requests,
        cache_hits=figures.cache_hits,
        cache_saved_nanos=sum(n for technique, n in totals.savings.items() if technique.startswith(_CACHE_TECHNIQUE)),
        coalesced_requests=figures.coalesced,
        mean_latency_ms=figures.latency_ms / figures.requests if figures.requests else 0.0,
        price_unknown_calls=figures.price_unknown_calls,
        usage=Usage(**{name: getattr(figures, name) for name in TOKEN_FIELDS}),
        savings=[Saving(technique=technique, nanos=nanos) for technique, nanos in by_size],
        tiers=tiers,
    )


def _tiers(totals: Totals) -> list[TierSummary]:
    figures = totals.figures
    hits = {1: figures.tier_1_hits, 2: figures.tier_2_hits, 3: figures.tier_3_hits}
    return [
        TierSummary(tier=tier, hits=count, saved_nanos=totals.savings.get(f"{_CACHE_TECHNIQUE}{tier}", 0))
        for tier, count in hits.items()
        if count
    ]
