"""Bodies of `/metrics` and `/analytics/*`."""

from typing import Annotated

from msgspec import Struct

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, Share, described, one_of
from asahi_edge.api.schemas.inference import CacheTier

PeriodName = Annotated[
    str,
    one_of(
        "As asked; `custom` with `from` and `to`.",
        *("1h", "24h", "7d", "30d", "hour", "day", "week", "month", "custom"),
    ),
]


class CostSummary(Struct, kw_only=True):
    """Costs over a period. Sums are exact to the nano-dollar."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the period.")]
    end: Annotated[Moment, described("Its end.")]
    total_cost: Annotated[Dollars, described("Dollars spent.")]
    cost_original: Annotated[Dollars, described("Dollars that would have been paid without Asahi, where known.")]
    cost_overhead: Annotated[
        Dollars, described("Dollars of `total_cost` that Asahi itself caused: second answers, judges.")
    ]
    total_savings: Annotated[Dollars, described("Dollars saved; may be negative.")]
    savings_percent: Annotated[float | None, described("100 × savings / cost_original; null: that is 0.")]
    total_requests: Annotated[Count, described("Requests answered.")]
    cache_hits: Annotated[Count, described("Requests answered from the cache.")]
    cache_hit_rate: Annotated[Share, described("Share of requests answered from the cache, 0 to 1.")]
    cache_cost_saved: Annotated[Dollars, described("Dollars of `total_savings` that the cache saved.")]
    savings_by_technique: Annotated[dict[str, Dollars], described("Dollars; sums to `total_savings` exactly.")]
    price_unknown_calls: Annotated[Count, described("Provider calls without a known price; not in the sums.")]


class CostSummaryAnswer(Struct):
    """Costs and savings over a period."""

    data: Annotated[CostSummary, described("The figures.")]


class InferenceView(Struct, kw_only=True):
    """A request that was made."""

    request_id: Annotated[str, described("Asahi's id of the request.")]
    timestamp: Annotated[Moment, described("When it was answered, UTC.")]
    model_used: Annotated[str, described("The model that answered, or was asked last.")]
    provider: Annotated[str, described("Who served it.")]
    tokens_input: Annotated[Count, described("Tokens of the question, cached ones included; 0: nobody was asked.")]
    tokens_output: Annotated[Count, described("Tokens of the answer; 0: nobody was asked.")]
    tokens_input_cached: Annotated[Count, described("Tokens of `tokens_input` read from the provider's own cache.")]
    cost: Annotated[Dollars, described("Dollars over all its provider calls.")]
    cost_original: Annotated[Dollars | None, described("Dollars without Asahi; null: not known.")]
    savings: Annotated[Dollars | None, described("`cost_original − cost`; may be negative.")]
    cache_hit: Annotated[bool, described("Whether a cached answer was served.")]
    cache_tier: CacheTier
    coalesced: Annotated[bool, described("Whether a call answered it that another request had under way.")]
    routing_reason: Annotated[str, described("One sentence with the figures that decided.")]
    latency_ms: Annotated[float, described("Milliseconds of the whole call.", ge=0)]
    status: Annotated[str, described("`answered`, or the code of the error that ended it.", examples=["answered"])]
    user_id: Annotated[str | None, described("The end user; null: not told.")]
    task_id: Annotated[str | None, described("The caller's own label; null: none.")]
    tags: Annotated[dict[str, str], described("From the header `x-asahi-tags`.")]


class InferenceList(Struct):
    """A page of requests, newest first."""

    data: Annotated[list[InferenceView], described("The requests.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]


class TierPerformance(Struct, kw_only=True):
    """What a cache tier did."""

    tier: Annotated[int, one_of("1 exact, 2 semantic, 3 intermediate results.", 1, 2, 3)]
    hits: Annotated[Count, described("Requests that it answered.")]
    hit_rate: Annotated[Share, described("Of all requests, 0 to 1.")]
    saved: Annotated[Dollars, described("Dollars that it saved.")]


class StratumPerformance(Struct, kw_only=True):
    """Answers of tier 2 that are about equally probable to serve."""

    least_probability: Annotated[Share, described("Least probability; 1: the questions differ in nothing that counts.")]
    state: Annotated[
        str,
        described(
            "`normal_form`, `proven` and `shared` (proven by the audits of all who share evidence) are served, "
            "`insufficient_evidence` and `bound_exceeded` are not."
        ),
    ]
    audits: Annotated[Count, described("Answers compared with a provider's since the evidence began anew.")]
    wrong: Annotated[Count, described("How many of them were wrong.")]
    error_low: Annotated[Share, described("Least share of wrong answers that the audits leave possible.")]
    error_high: Annotated[Share, described("Largest share.")]
    served: Annotated[Count, described("Answers served since it was proven, about.")]


class SimilarPerformance(Struct, kw_only=True):
    """What audits have measured of tier 2, since they began: the period does not matter here."""

    false_hit_bound: Annotated[Share, described("The policy's bound on the share of wrong answers.")]
    error_low: Annotated[
        Share | None, described("Least share that the audits leave possible; null: none was measured.")
    ]
    error_high: Annotated[Share | None, described("Largest share, with confidence 0.95 at every moment at once.")]
    judge_misses: Annotated[
        Share,
        described("Most wrong answers that the judge takes for right; the bound is tested more strictly by that."),
    ]
    reported_wrong: Annotated[Count, described("Answers that callers said were wrong.")]
    strata: Annotated[list[StratumPerformance], described("The surest answers first.")]


class CachePerformance(Struct, kw_only=True):
    """What the cache did over a period."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the period.")]
    end: Annotated[Moment, described("Its end.")]
    requests: Annotated[Count, described("Requests answered.")]
    hits: Annotated[Count, described("Requests answered from the cache.")]
    misses: Annotated[Count, described("Requests for which a provider was called.")]
    coalesced: Annotated[Count, described("Requests answered by a call that another one had under way.")]
    hit_rate: Annotated[Share, described("Share of requests answered from the cache, 0 to 1.")]
    saved: Annotated[Dollars, described("Dollars that the cache saved.")]
    tiers: Annotated[list[TierPerformance], described("The tiers that answered anything.")]
    tier2_error: Annotated[
        Share | None, described("Measured share of wrong answers among those of tier 2; null: none was measured.")
    ]
    tier2: Annotated[SimilarPerformance | None, described("How that is known; null: the cache does not tell.")]


class CachePerformanceAnswer(Struct):
    """What each cache tier answered and saved."""

    data: Annotated[CachePerformance, described("The figures.")]


class Metrics(Struct, kw_only=True):
    """An organization's figures since its beginning."""

    total_cost: Annotated[Dollars, described("Dollars spent.")]
    total_savings: Annotated[Dollars, described("Dollars saved; may be negative.")]
    requests: Annotated[Count, described("Requests answered.")]
    cache_hit_rate: Annotated[Share, described("Share of requests answered from the cache, 0 to 1.")]
    cache_size: Annotated[Count | None, described("Answers kept; null: the cache does not answer.")]
    cache_cost_saved: Annotated[Dollars, described("Dollars that the cache saved.")]
    tier1_hits: Annotated[Count, described("Requests answered by the exact cache.")]
    tier2_hits: Annotated[Count, described("Requests answered by the semantic cache.")]
    tier3_hits: Annotated[Count, described("Requests answered from intermediate results.")]
    avg_latency_ms: Annotated[float, described("Mean milliseconds of a request.", ge=0)]
    uptime_seconds: Annotated[float, described("Age of the process that answered, in seconds.", ge=0)]


class MetricsAnswer(Struct):
    """An organization's figures."""

    data: Annotated[Metrics, described("The figures.")]
