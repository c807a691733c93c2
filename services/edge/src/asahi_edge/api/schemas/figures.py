"""Bodies of `/analytics/cost-breakdown`, `trends`, `latency-percentiles` and `export`."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.analytics import PeriodName
from asahi_edge.api.schemas.fields import Count, Moment, Share, described, one_of

Milliseconds = Annotated[float, described("Milliseconds.", ge=0)]


class FigureSet(Struct, kw_only=True):
    """Figures over a period. Sums are exact to the nano-dollar."""

    cost: Annotated[Dollars, described("Dollars spent.")]
    cost_original: Annotated[Dollars, described("Dollars that would have been paid without Asahi, where known.")]
    savings: Annotated[Dollars, described("Dollars saved; may be negative.")]
    requests: Annotated[Count, described("Requests answered.")]
    cache_hits: Annotated[Count, described("Requests answered from the cache.")]
    cache_hit_rate: Annotated[Share, described("Share of requests answered from the cache, 0 to 1.")]
    calls: Annotated[Count, described("Provider calls.")]
    errors: Annotated[Count, described("Calls and requests that ended with an error.")]
    price_unknown_calls: Annotated[Count, described("Provider calls without a known price; not in the sums.")]
    tokens_input: Annotated[Count, described("Tokens of questions, cached ones included.")]
    tokens_input_cached: Annotated[Count, described("Tokens of `tokens_input` read from providers' own caches.")]
    tokens_output: Annotated[Count, described("Tokens of answers.")]
    avg_latency_ms: Annotated[float | None, described("Mean milliseconds of a request; null: there are none.")]


class FigureGroup(FigureSet, kw_only=True):
    """The figures of one value."""

    value: Annotated[
        str | None, described("The value; null: requests that name none. `other`: those beyond 1 000 a day.")
    ]


class Breakdown(Struct, kw_only=True):
    """Figures by one dimension, dearest first; they sum to those of the period."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the period.")]
    end: Annotated[Moment, described("Its end.")]
    group_by: Annotated[str, described("As asked.", examples=["model"])]
    groups: Annotated[list[FigureGroup], described("The groups, dearest first.")]
    rest: Annotated[FigureSet | None, described("The sum of the groups beyond `limit`; null: there are none.")]
    rest_groups: Annotated[Count, described("How many groups that is.")]
    total: Annotated[FigureSet, described("The sum of all; of a tag: of the requests that bear it.")]


class BreakdownAnswer(Struct):
    """Figures by one dimension."""

    data: Annotated[Breakdown, described("The figures.")]


class TrendPoint(Struct, kw_only=True):
    """An interval."""

    start: Annotated[Moment, described("Its beginning.")]
    value: Annotated[
        Any,
        described("Dollars, requests, mean milliseconds, or a share of 0 to 1; null: a mean or share of nothing."),
        Meta(extra_json_schema={"type": ["number", "null"]}),
    ]


class Trends(Struct, kw_only=True):
    """A figure over time, empty intervals included."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the period.")]
    end: Annotated[Moment, described("Its end.")]
    metric: Annotated[str, one_of("As asked.", "cost", "savings", "requests", "latency", "cache_hit_rate")]
    interval: Annotated[str, one_of("Hours, days or weeks from Monday, in UTC.", "hour", "day", "week")]
    points: Annotated[
        list[TrendPoint],
        described("All intervals, in order; the first and the last hold only what is within the period."),
    ]


class TrendsAnswer(Struct):
    """A figure over time."""

    data: Annotated[Trends, described("The series.")]


class LatencySet(Struct, kw_only=True):
    """Percentiles of the time of answered requests."""

    requests: Annotated[Count, described("How many requests.")]
    p50: Milliseconds
    p75: Milliseconds
    p90: Milliseconds
    p95: Milliseconds
    p99: Milliseconds


class LatencyGroup(LatencySet, kw_only=True):
    """Percentiles of one model and tier."""

    model: Annotated[str, described("The model that answered, or wrote the stored answer.")]
    cache_tier: Annotated[int, one_of("The cache tier that answered; 0: none.", 0, 1, 2, 3)]


class Latency(Struct, kw_only=True):
    """Percentiles, in milliseconds, of full hours; within 0.2 points of rank of the exact ones."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the first hour that is counted.")]
    end: Annotated[Moment, described("End of the last one.")]
    overall: Annotated[LatencySet | None, described("Of all requests; null: there are none.")]
    groups: Annotated[list[LatencyGroup], described("By model and tier, most requests first.")]


class LatencyAnswer(Struct):
    """Percentiles of latency."""

    data: Annotated[Latency, described("The percentiles.")]


class UsageRowView(Struct, kw_only=True):
    """One provider call, or one answer that needed none."""

    request_id: Annotated[str, described("Asahi's id of the request.")]
    attempt: Annotated[Count, described("Number of the provider call within the request; 0: no provider was called.")]
    timestamp: Annotated[Moment, described("When it was answered, UTC.")]
    api_key_id: Annotated[str, described("The key that asked.")]
    user_id: Annotated[str | None, described("The end user; null: not told.")]
    task_id: Annotated[str | None, described("The caller's own label; null: none.")]
    task_type: Annotated[str | None, described("The kind of work; null: not determined.")]
    tags: Annotated[dict[str, str], described("From the header `x-asahi-tags`; in CSV one JSON object.")]
    model: Annotated[str, described("The model.")]
    provider: Annotated[str, described("Who served it.")]
    tokens_input: Annotated[Count, described("Tokens of the question, cached ones included.")]
    tokens_input_cached: Annotated[Count, described("Of them, read from the provider's own cache.")]
    tokens_output: Annotated[Count, described("Tokens of the answer.")]
    cost: Annotated[Dollars | None, described("Dollars paid, overhead included; null: the price is unknown.")]
    cost_overhead: Annotated[Dollars, described("Dollars of `cost` that Asahi itself caused.")]
    cost_original: Annotated[Dollars | None, described("Dollars without Asahi; null: not known.")]
    cache_tier: Annotated[int, one_of("The cache tier that answered; 0: none.", 0, 1, 2, 3)]
    coalesced: Annotated[bool, described("Whether a call answered it that another request had under way.")]
    answered: Annotated[bool, described("Whether this answer reached the caller.")]
    orphan: Annotated[bool, described("Whether the process that made the call vanished before it ended.")]
    usage_source: Annotated[
        str | None,
        one_of("Where the tokens come from; null: no provider was called.", "provider", "drained", "estimated", None),
    ]
    price_version: Annotated[str | None, described("The price data that was used; null: none was needed.")]
    latency_ms: Annotated[float, described("Milliseconds of the whole call.", ge=0)]
    overhead_ms: Annotated[float, described("Milliseconds of it that Asahi added.", ge=0)]
    error_code: Annotated[str | None, described("What it ended with; null: it answered.")]
