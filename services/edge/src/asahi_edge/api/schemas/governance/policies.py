"""Bodies of `/governance/policies`: an absent field keeps its value, null restores the default."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, Share, Text, described
from asahi_edge.api.schemas.governance.budgets import BudgetBody, BudgetView
from asahi_edge.api.schemas.governance.limits import RateLimits

Patterns = Annotated[list[Text], Meta(max_length=100)]
Tiers = Annotated[list[Literal[1, 2, 3]], Meta(max_length=3)]
Days = Annotated[int, Meta(ge=0, le=36_500)]


class QualityBody(Struct, forbid_unknown_fields=True):
    """How good answers have to be; quality is 0 to 5."""

    default_threshold: Annotated[
        Annotated[float, Meta(ge=0, le=5)] | UnsetType | None,
        described("Least expected quality on autopilot. Null: as good as the baseline model within `epsilon`."),
    ] = UNSET
    floor: Annotated[
        Annotated[float, Meta(ge=0, le=5)] | UnsetType | None,
        described("Least expected quality of any model that is chosen for a caller. Default 3."),
    ] = UNSET
    epsilon: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | UnsetType | None,
        described("Share of the baseline's expected quality by which a model may be worse. Default 0.01."),
    ] = UNSET
    confidence: Annotated[
        Annotated[float, Meta(ge=0.5, lt=1)] | UnsetType | None,
        described("How sure a claim about quality has to be. Default 0.95."),
    ] = UNSET


class CachePolicyBody(Struct, forbid_unknown_fields=True):
    """What may be answered from the cache."""

    tiers: Annotated[
        Tiers | UnsetType | None,
        described("Tiers that may answer; an empty list: none. Default all: 1, 2, 3."),
    ] = UNSET
    ttl_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=31_536_000)] | UnsetType | None,
        described("Seconds that an answer is kept. Default 86400, a day."),
    ] = UNSET
    false_hit_bound: Annotated[
        Annotated[float, Meta(ge=0.0001, le=0.5)] | UnsetType | None,
        described("Most wrong answers among those that tier 2 serves, as a share. Default 0.01."),
    ] = UNSET
    share_between_users: Annotated[
        Literal["exact", "all", "none"] | UnsetType | None,
        described("Which end users get each other's answers: of identical requests, of similar ones too, never."),
    ] = UNSET
    sampled_answers: Annotated[
        Literal["reuse", "never"] | UnsetType | None,
        described("Whether requests with a `temperature` above 0 are answered from the cache. Default `reuse`."),
    ] = UNSET


class RetentionBody(Struct, forbid_unknown_fields=True):
    """How long data is kept, in days."""

    prompts_days: Annotated[
        Days | UnsetType | None,
        described(
            "Most days for prompts and answers in logs and analytics, which hold none, whatever it says. Default 0."
        ),
    ] = UNSET
    usage_days: Annotated[Days | UnsetType | None, described("Days for usage records. Default 400.")] = UNSET
    responses_days: Annotated[Days | UnsetType | None, described("Days for stored responses. Default 30.")] = UNSET


class AlertsBody(Struct, forbid_unknown_fields=True):
    """Where alerts of budgets go."""

    webhook_url: Annotated[
        str | UnsetType | None, described("https address that signed alerts are posted to; null: nowhere.")
    ] = UNSET


class LearningBody(Struct, forbid_unknown_fields=True):
    """What may be spent to learn which model is good at what, and to make sure of answers."""

    cascade: Annotated[
        Literal["off", "hard_checks", "calibrated"] | UnsetType | None,
        described(
            "Whether an answer of a cheaper model that fails a check is asked again of a better one. "
            "Default `hard_checks`; `calibrated` is not served by this version."
        ),
    ] = UNSET
    exploration: Annotated[
        Share | UnsetType | None,
        described(
            "Share of a month's questions without a named model or quality that allowed models answer which are not "
            "known to be as good as the baseline, ones expected to cost no more, so that those that are can be found "
            "and what routing is worth be measured. Default 0."
        ),
    ] = UNSET
    share_outcomes: Annotated[
        bool | UnsetType | None,
        described(
            "Whether judged answers (figures and embeddings, no text) join those of other organizations that share "
            "theirs, which decide while one's own are too few. Default false; false again withdraws what was shared."
        ),
    ] = UNSET
    shadow_share: Annotated[
        Share | UnsetType | None,
        described(
            "Share of answered questions without a named model that a second model is asked as well, afterwards, so "
            "that routing learns how the two answers compare. Default 0; none is without `monthly_limit_usd`."
        ),
    ] = UNSET
    judge: Annotated[
        Text | UnsetType | None,
        described(
            "Who compares the two answers: `local` (default), a model by its id, or `none`: no second model is asked."
        ),
    ] = UNSET
    monthly_limit_usd: Annotated[
        Annotated[float, Meta(ge=0, le=1_000_000_000)] | UnsetType | None,
        described(
            "The most dollars that second answers and judges may cost in a calendar month, UTC. Default 0: none."
        ),
    ] = UNSET


class PolicyBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes to a policy: what is absent keeps its value, null restores the default, lists are replaced as a whole."""

    allowed_models: Annotated[
        Patterns | UnsetType | None, described("Patterns of model ids, such as `gpt-6-*`. Default: all.")
    ] = UNSET
    allowed_providers: Annotated[Patterns | UnsetType | None, described("Ids of providers. Default: all.")] = UNSET
    baseline_model: Annotated[
        Text | UnsetType | None,
        described("Id of the model that `cost_original` is priced at. Default: the operator's."),
    ] = UNSET
    default_max_output_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=10_000_000)] | UnsetType | None,
        described("Most output tokens of a call that says nothing, where its cost has a limit. Default 4096."),
    ] = UNSET
    timezone: Annotated[
        Text | UnsetType | None, described("IANA name, such as `Europe/Paris`, of calendar days. Default `UTC`.")
    ] = UNSET
    quality: Annotated[QualityBody | UnsetType | None, described("How good answers have to be.")] = UNSET
    cache: Annotated[CachePolicyBody | UnsetType | None, described("What may be answered from the cache.")] = UNSET
    rate_limits: Annotated[RateLimits | UnsetType | None, described("Limits of the organization. Default: none.")] = (
        UNSET
    )
    retention: Annotated[RetentionBody | UnsetType | None, described("How long data is kept.")] = UNSET
    fail_open_without_billing: Annotated[
        bool | UnsetType | None,
        described("Whether calls under a hard budget go on while billing cannot be reached. Default false."),
    ] = UNSET
    strict_revocation: Annotated[
        bool | UnsetType | None,
        described("Whether a key is refused at once when auth cannot be reached, without its grace. Default false."),
    ] = UNSET
    budgets: Annotated[
        Annotated[list[BudgetBody], Meta(max_length=100)] | UnsetType | None,
        described("Limits on what is spent. Default: none."),
    ] = UNSET
    alerts: Annotated[AlertsBody | UnsetType | None, described("Where alerts of budgets go.")] = UNSET
    learning: Annotated[LearningBody | UnsetType | None, described("What is done to make sure of answers.")] = UNSET
    version: Annotated[
        Count | UnsetType,
        described("The version that the policy must be at; otherwise 409. As `If-Match`. Absent: any."),
    ] = UNSET


class QualityView(Struct):
    """How good answers have to be; quality is 0 to 5."""

    default_threshold: Annotated[
        float | None, described("Least expected quality on autopilot; null: as good as the baseline model.")
    ]
    floor: Annotated[float, described("Least expected quality of any model that is chosen for a caller.")]
    epsilon: Annotated[float, described("Share of the baseline's expected quality by which a model may be worse.")]
    confidence: Annotated[float, described("How sure a claim about quality has to be.")]


class CachePolicyView(Struct):
    """What may be answered from the cache."""

    tiers: Annotated[list[int], described("Tiers that may answer.")]
    ttl_seconds: Annotated[int, described("Seconds that an answer is kept.")]
    false_hit_bound: Annotated[float, described("Most wrong answers among those that tier 2 serves, as a share.")]
    share_between_users: Annotated[str, described("`exact`, `all` or `none`.")]
    sampled_answers: Annotated[str, described("`reuse` or `never`.")]


class RetentionView(Struct):
    """How long data is kept, in days."""

    prompts_days: Annotated[
        Count, described("Most days for prompts and answers in logs and analytics, which hold none, whatever it says.")
    ]
    usage_days: Annotated[Count, described("Days for usage records.")]
    responses_days: Annotated[Count, described("Days for stored responses.")]


class LearningView(Struct):
    """What is done to make sure of answers."""

    cascade: Annotated[str, described("`off` or `hard_checks`.")]
    exploration: Annotated[float, described("Share of a month's questions that models not trusted yet may answer.")]
    shadow_share: Annotated[float, described("Share of answered questions that a second model is asked as well.")]
    judge: Annotated[str, described("Who compares the answers: `none`, `local`, or a model's id.")]
    monthly_limit_usd: Annotated[Dollars, described("The most dollars a calendar month, UTC, for that.")]
    share_outcomes: Annotated[
        bool, described("Whether outcomes are shared with other organizations that share theirs.")
    ]


class AlertsView(Struct):
    """Where alerts of budgets go."""

    webhook_url: Annotated[str, described("The address that signed alerts are posted to.")]


class PolicyView(Struct, kw_only=True):
    """A policy with every default filled in."""

    organization_id: Annotated[str, described("Whose policy it is.")]
    version: Annotated[Count, described("Its version, from 1; 0: it was never changed.")]
    updated_at: Annotated[Moment | None, described("When this version was made; null: it was never changed.")]
    updated_by: Annotated[str | None, described("The id of a key, `operator`, or `person:` and the subject; or null.")]
    allowed_models: Annotated[list[str] | None, described("Patterns of model ids; null: all.")]
    allowed_providers: Annotated[list[str] | None, described("Ids of providers; null: all.")]
    baseline_model: Annotated[str | None, described("Id of the baseline model; null: the operator's.")]
    default_max_output_tokens: Annotated[int, described("Most output tokens of a call that says nothing.")]
    timezone: Annotated[str, described("IANA name of the time zone of calendar days and months.")]
    quality: Annotated[QualityView, described("How good answers have to be.")]
    cache: Annotated[CachePolicyView, described("What may be answered from the cache.")]
    rate_limits: Annotated[RateLimits | None, described("Limits of the organization; null: none.")]
    retention: Annotated[RetentionView, described("How long data is kept.")]
    fail_open_without_billing: Annotated[bool, described("Whether hard budgets yield while billing is away.")]
    strict_revocation: Annotated[bool, described("Whether keys have no grace while auth is away.")]
    alerts: Annotated[AlertsView | None, described("Where alerts of budgets go; null: nowhere.")]
    budgets: Annotated[list[BudgetView] | None, described("Limits on what is spent; null: none.")] = None
    learning: Annotated[LearningView, described("What is done to make sure of answers.")]


class PolicyHistory(Struct):
    """A page of a policy's versions, newest first."""

    data: Annotated[list[PolicyView], described("The versions.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]
