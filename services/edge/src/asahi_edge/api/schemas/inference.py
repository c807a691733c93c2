"""Bodies of Asahi's own inference API, and what its answers add to those of other APIs."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Share, Text, described, one_of

Prompt = Annotated[str, Meta(min_length=1, max_length=100_000)]
Quality = Annotated[float, Meta(ge=0, le=5)]
_MODES = ("autopilot", "guided", "explicit")
CacheTier = Annotated[int, one_of("1 exact, 2 semantic, 3 intermediate results; 0: a miss.", 0, 1, 2, 3)]
Technique = Annotated[
    str,
    one_of(
        "What made an answer cheaper.",
        *("cache_tier_1", "cache_tier_2", "cache_tier_3", "routing", "provider_prompt_cache", "cascade", "coalesced"),
    ),
]


class RoutingFields(Struct, kw_only=True):
    """How the model is chosen: fields of `/infer`, and of the header `x-asahi-routing` on `/v1/*`."""

    routing_mode: Annotated[
        Literal["autopilot", "guided", "explicit"],
        described(
            "`autopilot`: the cheapest model that meets quality and latency. `guided`: the same within the preferences "
            "given. `explicit`: the model in `model_override`."
        ),
    ] = "autopilot"
    quality_threshold: Annotated[
        Quality | None,
        described("Autopilot: least expected quality, 0 to 5. Absent: as good as the baseline model."),
    ] = None
    quality_preference: Annotated[
        Literal["low", "medium", "high", "max"] | None,
        described("Guided: expected quality of at least 3.0, 3.5, 4.0 or 4.5 of 5."),
    ] = None
    latency_preference: Annotated[
        Literal["slow", "normal", "fast", "instant"] | None,
        described("Guided: limit on the expected time to the first token, set in the catalog."),
    ] = None
    latency_budget_ms: Annotated[
        Annotated[int, Meta(gt=0, le=3_600_000)] | None,
        described("Milliseconds that the whole call may be expected to take; also its deadline (504)."),
    ] = None
    cost_budget: Annotated[
        Annotated[float, Meta(ge=1e-9, le=1_000_000)] | None, described("Dollars that the call may cost at most.")
    ] = None
    model_override: Annotated[Text | None, described("Explicit: the model's id or alias, as `GET /models` has it.")] = (
        None
    )


class RoutingHeader(RoutingFields, kw_only=True, forbid_unknown_fields=True):
    """The header `x-asahi-routing`."""


class StepBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A step of a workflow."""

    id: Annotated[
        str,
        described(
            "Names the step to others; letters, digits, `_` and `-`; not `document` or `prompt`.",
            pattern="^[A-Za-z0-9_-]{1,64}$",
        ),
    ]
    prompt: Annotated[
        Prompt, described("May use `{{document}}`, `{{prompt}}`, and `{{id}}` of the steps it depends on.")
    ]
    type: Annotated[Text | None, described("Kind of work, such as `summarize`; helps to choose the model.")] = None
    depends_on: Annotated[
        list[Text], described("Ids of the steps whose answers this one reads.", max_length=64)
    ] = []  # msgspec copies it
    quality_threshold: Annotated[Quality | None, described("Least expected quality of this step, 0 to 5.")] = None


class InferBody(RoutingFields, kw_only=True):
    """A question to `POST /infer`. Fields that it does not know are ignored and named in `x-asahi-warning`."""

    prompt: Annotated[Prompt, described("The user's question.")]
    system: Annotated[Annotated[str, Meta(max_length=100_000)] | None, described("System instruction.")] = None
    task_id: Annotated[Text | None, described("Your own label; kept in usage.")] = None
    user_id: Annotated[Text | None, described("The end user, for usage and limits. Absent: the key's.")] = None
    organization_id: Annotated[Text | None, described("Must be the key's organization. Absent: it is.")] = None
    document_id: Annotated[Text | None, described("Your name for `document`.")] = None
    document: Annotated[
        Annotated[str, Meta(min_length=1, max_length=10_000_000)] | None,
        described("A text that the prompt is about; sent before it, so that providers can cache it as a prefix."),
    ] = None
    steps: Annotated[
        Annotated[list[StepBody], Meta(min_length=1, max_length=64)] | None,
        described(
            "A workflow: steps that read the document and each other. The last that no other needs is the answer."
        ),
    ] = None
    max_tokens: Annotated[
        Annotated[int, Meta(gt=0, le=10_000_000)] | None, described("Tokens that the answer may have at most.")
    ] = None
    temperature: Annotated[Annotated[float, Meta(ge=0, le=2)] | None, described("Sampling temperature, 0 to 2.")] = None
    top_p: Annotated[Share | None, described("Nucleus sampling: share of the probability that is sampled from.")] = None
    stop: Annotated[
        str | Annotated[list[str], Meta(max_length=4)] | None, described("Up to four texts that end the answer.")
    ] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None, described("Seed for repeatable sampling; 64 bits.")
    ] = None
    response_format: Annotated[
        dict[str, Any] | None, described("As OpenAI's `response_format`: text, JSON, or JSON of a schema.")
    ] = None
    explain: Annotated[bool, described("Adds `alternatives` and `cache_explanation` to the answer.")] = False
    stream: Annotated[bool, described("Answer in server-sent events: `decision`, `delta`s, `done`.")] = False


class AttemptView(Struct):
    """A provider call that was made for a request."""

    model: Annotated[str, described("The model that was asked.")]
    provider: Annotated[str, described("Who was asked.")]
    outcome: Annotated[
        str,
        described(
            "`answered`, the code of the error that ended it, or `cascade: ` and the check that its answer failed.",
            examples=["answered", "overloaded", "cascade: json_schema"],
        ),
    ]
    duration_ms: Annotated[float, described("Milliseconds from the call to its end.", ge=0)]


class AlternativeView(Struct):
    """A model that was considered."""

    model: Annotated[str, described("The model's id.")]
    provider: Annotated[str, described("Who would be asked; empty: nobody serves it here.")]
    expected_cost: Annotated[Dollars | None, described("Dollars expected for this question; null: no known price.")]
    quality: Annotated[Quality, described("Expected quality for this kind of work, 0 to 5.")]
    first_token_ms: Annotated[Count, described("Expected milliseconds to the first token.")]
    total_ms: Annotated[Count, described("Expected milliseconds of the whole call.")]
    check_risk: Annotated[
        float,
        described("How likely its answer fails a check, as far as a better model would be asked then.", ge=0, le=1),
    ]
    escalation_cost: Annotated[Dollars, described("Of `expected_cost`: what that better model is expected to cost.")]
    excluded_by: Annotated[str | None, described("What excluded it; null: nothing did.")]


class CacheExpectation(Struct):
    """What the cache would do for a question now."""

    hit: Annotated[bool, described("Whether a stored answer would be given.")]
    tier: Annotated[CacheTier, described("The tier that has it.")]
    explanation: Annotated[str, described("Why, in one sentence.")]


class QuotedStep(Struct, kw_only=True):
    """What would become of a step of a workflow now."""

    id: Annotated[str, described("The step.")]
    model: Annotated[str, described("The model that would be called, were the cache to have no result.")]
    provider: Annotated[str, described("Who would be called.")]
    routing_reason: Annotated[str, described("One sentence with the figures that decided.")]
    task_type: Annotated[str, described("The kind of work that was recognised.", examples=["summarize", "chat"])]
    expected_cost: Annotated[Dollars, described("Dollars that it is expected to cost; 0 on a hit.")]
    max_cost: Annotated[
        Dollars | None,
        described("Dollars that its call can cost at most; null: not known, or the longest answers would not fit."),
    ]
    estimated: Annotated[
        bool, described("Whether it reads answers that are not there yet: they count with the length expected.")
    ]
    cache: Annotated[CacheExpectation, described("What the cache would do.")]


class QuoteAnswer(Struct, kw_only=True):
    """What a question would cost now. Nothing was asked, and nothing is held for it."""

    request_id: Annotated[str, described("Asahi's id of this request.")]
    model: Annotated[
        str,
        described("The model that would be called, were the cache to have no answer; for the last step of a workflow."),
    ]
    provider: Annotated[str, described("Who would be called.")]
    routing_mode: Annotated[str, one_of("Who chooses the model.", *_MODES)]
    routing_reason: Annotated[str, described("One sentence with the figures that decided.")]
    task_type: Annotated[str, described("The kind of work that was recognised.", examples=["chat", "code"])]
    baseline_model: Annotated[str, described("The model that savings are measured against.")]
    expected_cost: Annotated[
        Dollars, described("Dollars that the call is expected to cost, all steps of a workflow; 0 on a hit.")
    ]
    max_cost: Annotated[
        Dollars | None,
        described("Dollars that a call can cost at most, one call for each step; null: its price is not known."),
    ]
    cache: Annotated[CacheExpectation, described("What the cache would do.")]
    steps: Annotated[
        list[QuotedStep] | UnsetType, described("Of a workflow: its steps; their costs add up to the quote's.")
    ] = UNSET
    alternatives: Annotated[list[AlternativeView] | UnsetType, described("With `explain`: the models considered.")] = (
        UNSET
    )


class StepView(Struct, kw_only=True):
    """What became of a step of a workflow."""

    id: Annotated[str, described("The step.")]
    tier: Annotated[int, one_of("3: its result was kept from an earlier run; 0: it was not.", 0, 3)]
    coalesced: Annotated[bool, described("Whether it shared a call that another step or request had under way.")]
    cost: Annotated[Dollars, described("Dollars spent on it; the costs of all steps add up to `cost`.")]
    model: Annotated[str, described("The model that answered it, now or then.")]
    finish_reason: Annotated[
        str | None,
        one_of(
            "Why the model stopped; `length`: later steps have read what was cut off.",
            *("stop", "length", "tool_calls", "content_filter", None),
        ),
    ]


class InferAnswer(Struct, kw_only=True):
    """An answer with what it cost, what it would have cost, and why this model."""

    request_id: Annotated[str, described("Asahi's id of the request; names it to `/feedback` and in analytics.")]
    response: Annotated[str, described("The model's text.")]
    finish_reason: Annotated[
        str | None,
        one_of(
            "Why the model stopped; null: the provider did not say.",
            *("stop", "length", "tool_calls", "content_filter", None),
        ),
    ]
    model_used: Annotated[str, described("The model that answered; on a hit, that wrote the cached answer.")]
    provider: Annotated[str, described("Who served it; `simulator`: nobody did, the answer is simulated.")]
    tokens_input: Annotated[
        Count, described("Tokens of the question as the provider counted them, cached ones included; 0 on a hit.")
    ]
    tokens_output: Annotated[Count, described("Tokens of the answer as the provider counted them; 0 on a hit.")]
    tokens_input_cached: Annotated[Count, described("Tokens of `tokens_input` read from the provider's own cache.")]
    cost: Annotated[Dollars, described("Dollars really spent on this call.")]
    cost_overhead: Annotated[Dollars, described("Dollars of `cost` that Asahi itself caused.")]
    cost_original: Annotated[
        Dollars | None,
        described(
            "Dollars that would have been paid without Asahi: the same tokens at the model named, or else at the "
            "baseline model. null: its price is not known."
        ),
    ]
    cost_savings_percent: Annotated[
        float | None,
        described("100 × (1 − cost / cost_original); may be negative. null: the original is 0 or unknown."),
    ]
    savings_breakdown: Annotated[
        dict[str, Dollars], described("Dollars by technique; sums to `cost_original − cost` exactly.")
    ]
    latency_ms: Annotated[float, described("Milliseconds of the whole call.", ge=0)]
    overhead_ms: Annotated[float, described("Milliseconds of `latency_ms` that Asahi added.", ge=0)]
    cache_hit: Annotated[bool, described("Whether a cached answer was served.")]
    cache_tier: CacheTier
    routing_mode: Annotated[str, one_of("As asked.", *_MODES)]
    routing_reason: Annotated[str, described("One sentence with the figures that decided.")]
    optimization_techniques: Annotated[list[Technique], described("What made this answer cheaper.")]
    attempts: Annotated[list[AttemptView], described("Provider calls made, in order; empty on a hit.")]
    alternatives: Annotated[
        list[AlternativeView] | UnsetType, described("With `explain`: the models considered; empty on a hit.")
    ] = UNSET
    cache_explanation: Annotated[str | UnsetType, described("With `explain`: why the cache answered, or why not.")] = (
        UNSET
    )
    steps: Annotated[
        list[StepView] | UnsetType, described("Of a workflow: its steps, in the order of the request.")
    ] = UNSET


class StreamDecision(Struct, kw_only=True):
    """The data of the event `decision`, the first of a streamed answer."""

    request_id: Annotated[str, described("Asahi's id of the request.")]
    model_used: Annotated[str, described("The model that answers; on a hit, that wrote the cached answer.")]
    provider: Annotated[str, described("Who serves it.")]
    routing_mode: Annotated[str, one_of("As asked.", *_MODES)]
    routing_reason: Annotated[str, described("One sentence with the figures that decided.")]
    cache_tier: CacheTier


class StreamDelta(Struct):
    """The data of the event `delta`. The event `done` carries what a plain answer is."""

    text: Annotated[str, described("The next piece of the model's text.")]


class AsahiObject(Struct, kw_only=True):
    """What `/v1/*` answers carry under `asahi` beside the provider's own body."""

    request_id: Annotated[str, described("Asahi's id of the request.")]
    model: Annotated[str, described("The model that answered; on a hit, that wrote the cached answer.")]
    provider: Annotated[str, described("Who served it.")]
    cost_usd: Annotated[Dollars, described("Dollars really spent on this call.")]
    cost_original_usd: Annotated[
        Dollars | None, described("Dollars that would have been paid without Asahi; null: not known.")
    ]
    savings_usd: Annotated[Dollars | None, described("`cost_original_usd − cost_usd`; may be negative.")]
    cache_hit: Annotated[bool, described("Whether a cached answer was served; `usage` is then the stored one.")]
    cache_tier: CacheTier
    routing_mode: Annotated[str, one_of("As asked by `model` or `x-asahi-routing`.", *_MODES)]
    routing_reason: Annotated[str, described("One sentence with the figures that decided.")]
    optimization_techniques: Annotated[list[Technique], described("What made this answer cheaper.")]
    alternatives: Annotated[list[AlternativeView] | UnsetType, described("The models considered.")] = UNSET


class FeedbackBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a caller says about an answer: `score`, `rating` or `correct_cache_hit`."""

    request_id: Annotated[Text, described("`request_id` of the answer.")]
    score: Annotated[Share | None, described("How good it was, 0 to 1.")] = None
    rating: Annotated[Literal["up", "down"] | None, described("In place of `score`: 1 or 0.")] = None
    correct_cache_hit: Annotated[
        bool | None, described("Of an answer from the cache: whether it served the question.")
    ] = None
    comment: Annotated[Annotated[str, Meta(max_length=2000)] | None, described("In words, up to 2 000 characters.")] = (
        None
    )


class FeedbackAnswer(Struct):
    """The feedback is kept."""

    request_id: Annotated[str, described("The request it is about.")]
    recorded: Annotated[bool, described("Always true.")]
