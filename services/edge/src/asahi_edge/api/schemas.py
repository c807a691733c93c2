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
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None, _described("Seed for repeatable sampling.")
    ] = None
    response_format: Annotated[dict[str, Any] | None, _described("As OpenAI's `response_format`.")] = None
    explain: Annotated[bool, _described("Adds `alternatives` and `cache_explanation` to the answer.")] = False
    stream: Annotated[bool, _described("Answer in server-sent events: `decision`, `delta`s, `done`.")] = False
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


class StreamDecision(Struct, kw_only=True):
    """The data of the event `decision`, the first of a streamed answer."""

    request_id: str
    model_used: Annotated[str, _described("The model that answers; on a hit, that wrote the cached answer.")]
    provider: str
    routing_mode: str
    routing_reason: str
    cache_tier: Annotated[int, _described("The tier that answers; 0: a model does.")]


class StreamDelta(Struct):
    """The data of the event `delta`. The event `done` carries what a plain answer is."""

    text: Annotated[str, _described("The next piece of the model's text.")]


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


class InferenceView(Struct, kw_only=True):
    """A request that was made."""

    request_id: str
    timestamp: Annotated[str, _described("When it was answered; RFC 3339, UTC.")]
    model_used: str
    provider: str
    tokens_input: Annotated[int, _described("0 where no provider was called.")]
    tokens_output: int
    tokens_input_cached: int
    cost: Annotated[Dollars, _described("Dollars over all its provider calls.")]
    cost_original: Dollars | None
    savings: Dollars | None
    cache_hit: bool
    cache_tier: int
    coalesced: Annotated[bool, _described("Answered by a call that another request had under way.")]
    routing_reason: str
    latency_ms: float
    status: Annotated[str, _described("`answered`, or the code of the error that ended it.")]
    user_id: str | None
    task_id: str | None
    tags: dict[str, str]


class InferenceList(Struct):
    """A page of requests, newest first."""

    data: list[InferenceView]
    next_cursor: Annotated[str | None, _described("Asks for the next page; null: this was the last.")]


class TierPerformance(Struct, kw_only=True):
    """What a cache tier did."""

    tier: Annotated[int, _described("1 exact, 2 semantic, 3 intermediate results.")]
    hits: int
    hit_rate: Annotated[float, _described("Of all requests, 0 to 1.")]
    saved: Dollars


class CachePerformance(Struct, kw_only=True):
    """What the cache did over a period."""

    period: str
    start: str
    end: str
    requests: int
    hits: int
    misses: Annotated[int, _described("Requests for which a provider was called.")]
    coalesced: Annotated[int, _described("Requests answered by a call that another one had under way.")]
    hit_rate: Annotated[float, _described("0 to 1.")]
    saved: Dollars
    tiers: list[TierPerformance]
    tier2_error: Annotated[
        None, _described("Measured share of wrong answers of tier 2; null: tier 2 serves nothing in this version.")
    ] = None


class CachePerformanceAnswer(Struct):
    """The answer of `GET /analytics/cache-performance`."""

    data: CachePerformance


class Metrics(Struct, kw_only=True):
    """An organization's figures since its beginning."""

    total_cost: Dollars
    total_savings: Dollars
    requests: int
    cache_hit_rate: Annotated[float, _described("0 to 1.")]
    cache_size: Annotated[int | None, _described("Answers kept; null: the cache does not answer.")]
    cache_cost_saved: Dollars
    tier1_hits: int
    tier2_hits: int
    tier3_hits: int
    avg_latency_ms: float
    uptime_seconds: Annotated[float, _described("Age of the process that answered.")]


class MetricsAnswer(Struct):
    """The answer of `GET /metrics`."""

    data: Metrics


class Usage(Struct, kw_only=True):
    """What an organization used in a calendar period."""

    organization_id: str
    period: Literal["day", "month"]
    start: str
    end: str
    requests: int
    tokens_input: Annotated[int, _described("Cached ones included.")]
    tokens_input_cached: int
    tokens_output: int
    cost: Dollars
    savings: Dollars
    budget_left: Annotated[Dollars | None, _described("Dollars left of the tightest budget; null: there is none.")]


class UsageAnswer(Struct):
    """The answer of `GET /governance/usage`."""

    data: Usage


class CacheInvalidationBody(Struct):
    """What to drop from the cache: answers that match all that is given."""

    request_id: Annotated[Text | None, _described("Only the answer of this request.")] = None
    older_than: Annotated[str | None, _described("Only answers given before this moment; RFC 3339.")] = None
    document_id: Annotated[Any, _described("Not served by this version (501).")] = None
    tag: Annotated[Any, _described("Not served by this version (501).")] = None
    organization_id: Annotated[Text | None, _described("The operator names it; a key's own is the default.")] = None


class CacheInvalidationAnswer(Struct):
    """What was dropped."""

    organization_id: str
    dropped: Annotated[int, _described("How many answers there were.")]


class FeedbackBody(Struct, kw_only=True):
    """A request to `POST /feedback`."""

    request_id: Annotated[str, _described("`request_id` of the answer.", min_length=1, max_length=200)]
    score: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, _described("How good it was, 0 to 1.")] = None
    rating: Annotated[Literal["up", "down"] | None, _described("In place of `score`: 1 or 0.")] = None
    correct_cache_hit: Annotated[bool | None, _described("Whether a cached answer served the question.")] = None
    comment: Annotated[Annotated[str, Meta(max_length=2000)] | None, _described("In words.")] = None


class FeedbackAnswer(Struct):
    """The feedback is kept."""

    request_id: str
    recorded: bool


class ModelPrices(Struct, kw_only=True):
    """Today's prices for a short prompt, in dollars a million tokens."""

    input_per_million: Dollars
    cached_input_per_million: Dollars
    output_per_million: Dollars


class ModelSpeed(Struct, kw_only=True):
    """Measured here lately, else the catalog's figures."""

    first_token_ms: float
    output_tokens_per_second: float


class CatalogModel(Struct, kw_only=True):
    """A model of the catalog."""

    id: str
    aliases: list[str]
    vendor: str
    provider: Annotated[str | None, _described("Who serves it here; null: nobody, no key is set.")]
    allowed: Annotated[bool, _described("Whether this key may use it.")]
    context_window: Annotated[int, _described("Most tokens of prompt and answer together.")]
    max_output_tokens: int
    capabilities: list[str]
    prices: Annotated[ModelPrices | None, _described("null: no known price.")]
    quality_by_task: Annotated[dict[str, float], _described("Expected quality by kind of work, 0 to 5.")]
    quality_source: str
    latency: ModelSpeed
    health: str


class Catalog(Struct, kw_only=True):
    """The catalog."""

    data: list[CatalogModel]
    baseline_model: Annotated[str, _described("What savings are measured against unless a policy says otherwise.")]


class OpenAIModel(Struct, kw_only=True):
    """A model, as OpenAI shows it."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, _described("Not known: always 0.")] = 0
    owned_by: str


class OpenAIModelList(Struct, kw_only=True):
    """The models that a key may name, as OpenAI lists them."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class AnthropicModel(Struct, kw_only=True):
    """A model, as Anthropic shows it."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str


class AnthropicModelList(Struct, kw_only=True):
    """The models that a key may name, as Anthropic lists them."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str
    last_id: str


class AnthropicErrorDetail(Struct):
    """What went wrong, as Anthropic's SDKs read it."""

    type: str
    message: str


class AnthropicErrorBody(Struct, kw_only=True):
    """An error in Anthropic's shape."""

    type: Literal["error"] = "error"
    error: AnthropicErrorDetail
    request_id: str


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
