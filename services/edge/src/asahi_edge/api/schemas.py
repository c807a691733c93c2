"""The bodies of the HTTP contract: what is validated, answered and documented, each declared once."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.json import Dollars

Text = Annotated[str, Meta(min_length=1, max_length=200)]


def _described(description: str, **limits: Any) -> Meta:
    return Meta(description=description, **limits)


class RoutingFields(Struct, kw_only=True):
    """How the model is chosen: fields of `/infer`, and of the header `x-asahi-routing` on `/v1/*`."""

    routing_mode: Annotated[
        Literal["autopilot", "guided", "explicit"],
        _described(
            "autopilot: the cheapest model that meets quality and latency. guided: within the preferences given. "
            "explicit: `model_override`."
        ),
    ] = "autopilot"
    quality_threshold: Annotated[
        Annotated[float, Meta(ge=0, le=5)] | None,
        _described("Autopilot: least expected quality, 0 to 5. None: as good as the baseline model."),
    ] = None
    quality_preference: Annotated[
        Literal["low", "medium", "high", "max"] | None, _described("Guided: quality of at least 3.0, 3.5, 4.0, 4.5.")
    ] = None
    latency_preference: Annotated[
        Literal["slow", "normal", "fast", "instant"] | None,
        _described("Guided: limit on the expected time to first token."),
    ] = None
    latency_budget_ms: Annotated[
        Annotated[int, Meta(gt=0, le=3_600_000)] | None,
        _described("Most milliseconds that the call is expected to take; also its deadline."),
    ] = None
    cost_budget: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000)] | None, _described("Most dollars that the call may cost.")
    ] = None
    model_override: Annotated[Text | None, _described("Explicit: the model.")] = None


class InferBody(RoutingFields, kw_only=True):
    """A request to `POST /infer`."""

    prompt: Annotated[str, _described("The user's question.", min_length=1, max_length=100_000)]
    system: Annotated[Annotated[str, Meta(max_length=100_000)] | None, _described("System instruction.")] = None
    task_id: Annotated[Text | None, _described("Your own label; kept in usage.")] = None
    user_id: Annotated[Text | None, _described("End user, for usage and limits.")] = None
    organization_id: Annotated[Text | None, _described("Must be the key's organization.")] = None
    max_tokens: Annotated[
        Annotated[int, Meta(gt=0, le=10_000_000)] | None, _described("Most tokens of the answer.")
    ] = None
    temperature: Annotated[Annotated[float, Meta(ge=0, le=2)] | None, _described("Sampling temperature.")] = None
    top_p: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, _described("Nucleus sampling mass.")] = None
    stop: Annotated[
        str | Annotated[list[str], Meta(max_length=4)] | None, _described("Up to four texts that end the answer.")
    ] = None
    seed: Annotated[int | None, _described("Seed for repeatable sampling.")] = None
    response_format: Annotated[dict[str, Any] | None, _described("As OpenAI's `response_format`.")] = None
    explain: Annotated[bool, _described("Adds `alternatives` and `cache_explanation` to the answer.")] = False
    stream: Annotated[bool, _described("Server-sent events; not served by this version (501).")] = False
    document_id: Annotated[Any, _described("Workflows are not served by this version (501).")] = None
    document: Annotated[Any, _described("Workflows are not served by this version (501).")] = None
    steps: Annotated[Any, _described("Workflows are not served by this version (501).")] = None


class AttemptView(Struct):
    """A provider call that was made for a request."""

    model: str
    provider: str
    outcome: Annotated[str, _described("`answered`, or the code of the error that ended it.")]
    duration_ms: float


class AlternativeView(Struct):
    """A model that was considered."""

    model: str
    provider: str
    expected_cost: Annotated[Dollars | None, _described("Dollars; null: no known price.")]
    quality: Annotated[float, _described("Expected quality for this kind of work, 0 to 5.")]
    first_token_ms: Annotated[int, _described("Expected milliseconds to the first token.")]
    total_ms: Annotated[int, _described("Expected milliseconds of the whole call.")]
    excluded_by: Annotated[str | None, _described("What excluded it; null: nothing did.")]


class InferAnswer(Struct, kw_only=True):
    """The answer of `POST /infer`."""

    request_id: str
    response: Annotated[str, _described("The model's text.")]
    finish_reason: Annotated[str | None, _described("`stop`, `length`, `tool_calls` or `content_filter`.")]
    model_used: Annotated[str, _described("The model that answered; on a hit, that wrote the cached answer.")]
    provider: str
    tokens_input: Annotated[int, _described("As the provider reported them, cached ones included; 0 on a hit.")]
    tokens_output: int
    tokens_input_cached: Annotated[int, _described("Input tokens read from the provider's prompt cache.")]
    cost: Annotated[Dollars, _described("Dollars really spent on this call.")]
    cost_overhead: Annotated[Dollars, _described("The part of `cost` that Asahi itself caused.")]
    cost_original: Annotated[Dollars | None, _described("Dollars that would have been paid without Asahi.")]
    cost_savings_percent: Annotated[float | None, _described("100 × (1 − cost / cost_original); may be negative.")]
    savings_breakdown: Annotated[dict[str, Dollars], _described("Dollars by technique; sums to the savings exactly.")]
    latency_ms: Annotated[float, _described("Milliseconds of the whole call.")]
    overhead_ms: Annotated[float, _described("The part of `latency_ms` that Asahi added.")]
    cache_hit: bool
    cache_tier: Annotated[int, _described("1 exact, 2 semantic, 3 intermediate result; 0: a miss.")]
    routing_mode: str
    routing_reason: Annotated[str, _described("One sentence with the figures that decided.")]
    optimization_techniques: list[str]
    attempts: Annotated[list[AttemptView], _described("Models tried; empty on a hit.")]
    alternatives: list[AlternativeView] | UnsetType = UNSET
    cache_explanation: str | UnsetType = UNSET


class AsahiObject(Struct, kw_only=True):
    """What `/v1/*` answers carry under `asahi` beside the provider's own body."""

    request_id: str
    model: str
    provider: str
    cost_usd: Dollars
    cost_original_usd: Dollars | None
    savings_usd: Dollars | None
    cache_hit: bool
    cache_tier: int
    routing_mode: str
    routing_reason: str
    optimization_techniques: list[str]
    alternatives: list[AlternativeView] | UnsetType = UNSET


class ErrorDetail(Struct, kw_only=True):
    """What went wrong, with which value, and what to do."""

    message: str
    type: str
    code: str
    param: Annotated[str | None, _described("The field at fault.")]
    request_id: str


class ErrorBody(Struct):
    """An error."""

    error: ErrorDetail


class SignupBody(Struct):
    """A request to `POST /signup`."""

    org_name: Annotated[str, _described("Name of the organization; a label, not unique.", min_length=1, max_length=200)]
    user_id: Annotated[str, _described("Who signs up.", min_length=1, max_length=200)]
    email: Annotated[Annotated[str, Meta(max_length=320)] | None, _described("Where to reach them.")] = None
    invite_code: Annotated[Text | None, _described("Invites are not served by this version (501).")] = None


class SignupAnswer(Struct):
    """A new organization with its first key."""

    org_id: str
    org_name: str
    api_key: Annotated[str, _described("Shown this once.")]
    api_key_id: str
    scopes: list[str]


class ApiKeyBody(Struct):
    """A request to `POST /governance/api-keys`."""

    name: Annotated[str, _described("Label.", min_length=1, max_length=200)]
    scopes: Annotated[
        list[Literal["infer", "analytics", "admin", "all"]],
        _described("What the key opens.", min_length=1, max_length=4),
    ]
    user_id: Annotated[Text | None, _described("Whom the key belongs to.")] = None
    expires_at: Annotated[str | None, _described("RFC 3339, in the future; null: never.")] = None
    allowed_models: Annotated[
        Annotated[list[Text], Meta(max_length=100)] | None,
        _described("Patterns such as `gpt-6-*`; null: as the maker."),
    ] = None
    organization_id: Annotated[Text | None, _described("The operator names it; a key's own is the default.")] = None
    rate_limits: Annotated[Any, _described("Not served by this version (501).")] = None
    budgets: Annotated[Any, _described("Not served by this version (501).")] = None


class ApiKeyView(Struct, kw_only=True):
    """An API key. `api_key` is there only when it was made."""

    id: str
    api_key: str | UnsetType = UNSET
    name: str
    scopes: list[str]
    organization_id: str
    user_id: str | None
    allowed_models: list[str] | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class ApiKeyList(Struct):
    """A page of keys, newest first."""

    data: list[ApiKeyView]
    next_cursor: str | None


class CostSummary(Struct, kw_only=True):
    """Costs over a period. Sums are exact."""

    period: Annotated[str, _described("As asked; `custom` with `from` and `to`.")]
    start: str
    end: str
    total_cost: Dollars
    cost_original: Annotated[Dollars, _described("What would have been paid without Asahi, where that is known.")]
    total_savings: Dollars
    savings_percent: float | None
    total_requests: int
    cache_hits: int
    cache_hit_rate: Annotated[float, _described("0 to 1.")]
    cache_cost_saved: Dollars
    savings_by_technique: dict[str, Dollars]
    price_unknown_calls: Annotated[int, _described("Provider calls without a known price; not in the sums.")]


class CostSummaryAnswer(Struct):
    """The answer of `GET /analytics/cost-summary`."""

    data: CostSummary


class ComponentView(Struct):
    """A part of the installation."""

    status: Literal["healthy", "degraded", "unhealthy"]
    detail: str


class HealthView(Struct):
    """The installation as the edge sees it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    uptime_seconds: float
    components: dict[str, ComponentView]


class ProbeView(Struct):
    """A probe's answer."""

    status: Literal["ok", "starting", "stopping"]
