"""Bodies of `/analytics/forecast`, `anomalies` and `recommendations`."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.analytics import PeriodName
from asahi_edge.api.schemas.fields import Count, Moment, described, one_of

_NUMBER = Meta(extra_json_schema={"type": "number"})


class Expected(Struct, kw_only=True):
    """An amount with the band that holds 80 of 100 outcomes."""

    start: Annotated[Moment, described("From when.")]
    end: Annotated[Moment, described("Until when.")]
    expected: Annotated[Dollars, described("Dollars expected.")]
    low: Annotated[Dollars, described("One outcome in ten is below.")]
    high: Annotated[Dollars, described("One outcome in ten is above.")]


class BudgetOutlook(Struct, kw_only=True):
    """A budget of the organization in its present window."""

    window: Annotated[str, one_of("Its window.", "hour", "day", "week", "month")]
    limit: Annotated[Dollars, described("Dollars that may be spent in it.")]
    spent: Annotated[Dollars, described("Dollars spent in it.")]
    window_end: Annotated[Moment, described("When it begins anew.")]
    runs_out_at: Annotated[
        Moment | None,
        described("When the limit is expected to be reached; null: not in this window, or beyond the horizon."),
    ]


class Forecast(Struct, kw_only=True):
    """Expected spend from now on."""

    spend: Annotated[Expected | None, described("Over the whole horizon; null: less than 48 hours are known.")]
    days: Annotated[list[Expected], described("By day, UTC; the first and the last may be parts.")]
    budgets: Annotated[list[BudgetOutlook], described("The organization's own budgets.")]
    history_hours: Annotated[Count, described("Hours of spend that it is made from.")]
    model: Annotated[str, described("How it is made.")]


class ForecastAnswer(Struct):
    """Expected spend."""

    data: Annotated[Forecast, described("The forecast.")]


class AnomalyView(Struct, kw_only=True):
    """Something unusual."""

    metric: Annotated[str, one_of("What is unusual.", "cost", "latency", "error_rate")]
    since: Annotated[Moment, described("Since when.")]
    until: Annotated[Moment, described("Until when.")]
    expected: Annotated[Any, described("Dollars, mean milliseconds, or a share of 0 to 1."), _NUMBER]
    seen: Annotated[Any, described("The same, as it was."), _NUMBER]
    deviations: Annotated[float, described("Robust standard deviations of its worst hour; negative: below.")]


class Anomalies(Struct, kw_only=True):
    """What is unlike the same hours of the weeks before."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the period.")]
    end: Annotated[Moment, described("Its end.")]
    anomalies: Annotated[list[AnomalyView], described("The latest first.")]
    enough_history: Annotated[bool, described("Whether two weeks before are known; false: nothing is said.")]


class AnomaliesAnswer(Struct):
    """Unusual spend, latency or error rate."""

    data: Annotated[Anomalies, described("The anomalies.")]


class RecommendationView(Struct, kw_only=True):
    """A change worth money."""

    kind: Annotated[
        str, one_of("What it is.", "cheaper_model", "enable_cache", "longer_cache", "unknown_price", "orphans")
    ]
    title: Annotated[str, described("What to do.")]
    saving: Annotated[
        Dollars | None, described("Dollars it would have saved over the period; null: usage cannot tell.")
    ]
    evidence: Annotated[str, described("The figures that say so.")]
    policy: Annotated[
        dict[str, Any] | None,
        described("The body of `POST /governance/policies/{org_id}` that does it; null: no policy does."),
    ]


class Interval(Struct, kw_only=True):
    """A share with its 95 % interval."""

    point: Annotated[float, described("The estimate.")]
    low: Annotated[float, described("The lower end.")]
    high: Annotated[float, described("The upper end.")]


class RoutingControlView(Struct, kw_only=True):
    """What a policy would have brought on the same questions."""

    policy: Annotated[
        str,
        one_of("The policy.", "router", "always_baseline", "cheapest", "best_constant", "cost_matched_mix"),
    ]
    model: Annotated[str | None, described("The model that it asks, or mixes with the baseline; null: several.")]
    state: Annotated[
        str,
        one_of(
            "`insufficient_evidence`: its model was, or might have been, drawn on too few questions to tell.",
            "measured",
            "insufficient_evidence",
        ),
    ]
    saved: Annotated[float, described("Expected share of the baseline's cost that it saves.")]
    lost: Annotated[
        Interval | None,
        described("Share of the baseline's quality that it loses; negative: gains. Null: not measured."),
    ]
    overlap: Annotated[float, described("Share of the questions on which its model was, or might have been, drawn.")]
    effective_answers: Annotated[float, described("Judged answers that its weights are worth.")]


class RoutingView(Struct, kw_only=True):
    """What routing was worth beside simpler policies, measured on judged answers of the last 30 days."""

    state: Annotated[
        str,
        one_of(
            "`insufficient_evidence`: catalog and memory decide, unmeasured. `baseline_took_over`: routing surely lost "
            "more than `quality.epsilon`, so that the baseline answers.",
            "measured",
            "insufficient_evidence",
            "baseline_took_over",
        ),
    ]
    says: Annotated[str, described("The same in a sentence.")]
    baseline_model: Annotated[str, described("What it is compared with.")]
    epsilon: Annotated[float, described("Share of the baseline's quality that may be lost.")]
    decisions: Annotated[Count, described("Judged answers in which Asahi chose the model beside that baseline.")]
    explored: Annotated[Count, described("Of these, such that another model might have been drawn.")]
    controls: Annotated[
        list[RoutingControlView], described("Routing, then the controls; empty: fewer than 200 judged.")
    ]


class Recommendations(Struct, kw_only=True):
    """Changes worth money, the largest saving first."""

    period: PeriodName
    start: Annotated[Moment, described("Beginning of the period.")]
    end: Annotated[Moment, described("Its end.")]
    recommendations: Annotated[list[RecommendationView], described("The changes.")]
    routing: Annotated[RoutingView | None, described("What routing was worth; null: the router cannot be reached.")]


class RecommendationsAnswer(Struct):
    """Changes worth money."""

    data: Annotated[Recommendations, described("The changes.")]
