"""Each model weighed for one question: what it would cost, how good and fast it would be, and what speaks against it.

All of a model's violations are found, not only the first: a refusal must name the constraint that binds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import LatencyPreference, Routing, RoutingPolicy
from asahi_core.globs import matches_any
from asahi_core.prices.rates import Rates
from asahi_router.domain.conversations import Prefixes
from asahi_router.domain.evidence import Evidence
from asahi_router.domain.features import Features
from asahi_router.domain.goal import Goal
from asahi_router.domain.models import PROTOCOLS, Catalog, CatalogModel, ServedModel
from asahi_router.domain.observations import Speed
from asahi_router.domain.tariffs import Tariffs

_OWN_FORM = Api.API_CHAT
_MILLION = 1_000_000
_LEAST_PREFIX = 1024
"""Tokens of the shortest prefix that providers keep. What they keep of a prompt they bill at the price of writing."""
_SURE = 1.28
"""Standard errors of a lower bound that holds nine times of ten."""


class Constraint(IntEnum):
    """What may speak against a model, in the order in which the constraints are told."""

    SERVED = 1
    MODELS = 2
    PROVIDERS = 3
    CAPABILITY = 4
    PARAMETER = 5
    ANSWER = 6
    WINDOW = 7
    PRICE = 8
    FLOOR = 9
    QUALITY = 10
    FIRST_TOKEN = 11
    LATENCY = 12
    COST = 13


class Violation(NamedTuple):
    """Why a model may not answer. A tuple, because most models get one in most decisions."""

    constraint: Constraint
    words: str
    """For people who see the model listed."""
    excess: float = float("inf")
    """By which part of the limit it misses it; infinite: there is no more or less."""
    field: str = ""
    """The field of the question that it does not take; empty: none."""


class Candidate(NamedTuple):
    """A model weighed. A tuple, because forty of them are made for every decision."""

    served: ServedModel
    quality: float
    """Expected, 0 to 5: of this question where outcomes say so, else of this kind of work."""
    first_token_ms: float
    total_ms: float
    """Of the whole call, with an answer of median length."""
    input_tokens: int
    """Estimated."""
    expected_cost_nanos: int | None
    """None: no known price."""
    max_cost_nanos: int | None
    """Upper bound; None: no known price."""
    max_output_tokens: int
    """Most tokens of all its answers, thought included."""
    added_max_output_tokens: int
    """Most tokens of each answer, where the question sets no limit and the policy does; 0: nothing is added."""
    violations: tuple[Violation, ...]
    quality_error: float | None = None
    """Standard error of the quality; None: it is the catalog's, which has none."""
    expected_output_tokens: int = 0
    """Of one answer, thought not counted."""
    later_cost_nanos: float = 0.0
    """What choosing it is expected to add to the cost of the conversation's later turns; below 0: it saves there."""
    check_risk: float = 0.0
    """How likely its answer fails its check, 0 to 1; 0 where no better model would be asked then."""
    escalation_nanos: int = 0
    """Of the expected cost: what a better model costs that is asked then, as far as that is likely."""

    keeps_prompt: bool = False
    """Whether its provider would be asked to keep the question for the next turn, which it does not by itself."""

    @property
    def whole_cost_nanos(self) -> float:
        """Expected of the question, with what its choice does to later ones."""
        return (self.expected_cost_nanos or 0) + self.later_cost_nanos

    @property
    def model(self) -> str:
        """Catalog id."""
        return self.served.model.id

    @property
    def provider(self) -> str:
        """Id of the provider."""
        return self.served.provider

    @property
    def provider_model(self) -> str:
        """The model's name as the provider writes it."""
        return self.served.provider_model

    @property
    def keeps_when_asked(self) -> bool:
        """Whether its provider keeps the beginning of a prompt only when it is asked to."""
        return self.served.protocol == "anthropic"

    def without(self, constraint: Constraint) -> "Candidate":
        """The same, with that constraint lifted."""
        return self.violating(tuple(v for v in self.violations if v.constraint != constraint))

    def violating(self, violations: tuple[Violation, ...]) -> "Candidate":
        """The same, with these violations; `_replace` takes three times as long."""
        if not violations and not self.violations:
            return self
        return Candidate(*self[:9], violations, *self[10:])

    def failing(self, risk: float, escalation_nanos: int) -> "Candidate":
        """The same, whose answer is as likely to fail, which costs so much besides."""
        cost = (self.expected_cost_nanos or 0) + escalation_nanos
        return self._replace(expected_cost_nanos=cost, check_risk=risk, escalation_nanos=escalation_nanos)

    def violates(self, constraint: Constraint) -> Violation | None:
        """How it misses the constraint; None: it does not."""
        return next((violation for violation in self.violations if violation.constraint == constraint), None)


class Tokens(Protocol):
    """Estimates tokens."""

    def input_tokens(self, model: str, asked_bytes: int) -> int:
        """Input tokens of a question of so many bytes."""
        ...


class Speeds(Protocol):
    """Knows how fast models are."""

    def speed(self, model: CatalogModel) -> Speed:
        """How fast the model is expected to be."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """What models are weighed with."""

    catalog: Catalog
    tariffs: Tariffs
    """On the day of the call."""
    tokens: Tokens
    speeds: Speeds


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model must keep to."""

    allowed_models: Sequence[str] = ()
    """Patterns of the organisation."""
    key_allowed_models: Sequence[str] = ()
    """Patterns of the key."""
    allowed_providers: Sequence[str] = ()
    floor: float = 0.0
    """Least quality of any model."""
    quality: float = 0.0
    """Least quality that is looked for."""
    sureness: float = 0.0
    """Standard errors by which the expected quality must be above it."""
    preference: LatencyPreference.ValueType = LatencyPreference.LATENCY_PREFERENCE_UNSPECIFIED
    first_token_ms: float | None = None
    """What the preference allows."""
    total_ms: int | None = None
    cost_nanos: int | None = None
    output_tokens: int = 0
    """Most tokens of each answer to a question that sets no limit; 0: as many as the model writes."""
    price_needed: bool = False
    """Whether the price must be known even where the caller named the model."""
    by_name: bool = False
    """Whether the caller named the model: its price may be unknown then, and the provider judges what it can do."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the very question, beside its features."""

    evidence: Evidence | None = None
    """What outcomes say about it."""
    prefixes: Prefixes | None = None
    """What providers have seen of it; None: nothing."""
    further_turns: float = 0.0
    """Of its conversation that are expected, each with all of this question in front."""
    again: Mapping[str, float] | None = None
    """How much it counts, 0 to 1, that a model has read the question when later ones come; empty: unknown."""


NOTHING_KNOWN = Known()


def limits_of(routing: Routing, policy: RoutingPolicy, catalog: Catalog, goal: Goal) -> Limits:
    """The limits of a request in which Asahi chooses."""
    preference: LatencyPreference.ValueType = routing.latency_preference
    return Limits(
        allowed_models=tuple(policy.allowed_models),
        key_allowed_models=tuple(policy.key_allowed_models),
        allowed_providers=tuple(policy.allowed_providers),
        floor=goal.floor,
        quality=goal.quality,
        sureness=_SURE if goal.field else 0.0,
        preference=preference,
        first_token_ms=catalog.latency_limits_ms.get(preference),
        total_ms=routing.latency_budget_ms if routing.HasField("latency_budget_ms") else None,
        cost_nanos=routing.cost_budget_nanos if routing.HasField("cost_budget_nanos") else None,
        output_tokens=policy.default_max_output_tokens,
        price_needed=policy.price_needed or routing.HasField("cost_budget_nanos"),
    )


def allows(model: str, limits: Limits) -> bool:
    """Whether both the organisation and the key allow the model with this catalog id."""
    return all(not some or matches_any(model, some) for some in (limits.allowed_models, limits.key_allowed_models))


def allowed_patterns(limits: Limits) -> str:
    """What models have to match, in words."""
    return " and ".join(", ".join(some) for some in (limits.allowed_models, limits.key_allowed_models) if some)


def weigh(
    served: ServedModel, features: Features, limits: Limits, scale: Scale, known: Known = NOTHING_KNOWN
) -> Candidate:
    """The model as a candidate for a question with `features`."""
    model = served.model
    asked = scale.tokens.input_tokens(model.id, features.asked_bytes)
    most, answers = model.max_output_tokens, features.answers
    added = 0
    if limits.output_tokens and not features.max_output_tokens:
        added = max(1, min(limits.output_tokens, most, model.context_window - asked))
    bound = features.max_output_tokens or added or served.default_max_tokens or most
    bound = bound if bound < most else most
    thought = model.median_reasoning_tokens if model.reasons(features.reasoning_effort) else 0
    expected = known.evidence.models.get(model.id) if known.evidence is not None else None
    if expected is not None:  # what its answers really took, thought included
        produced = min(bound, round(expected.output_tokens))
        written = max(1, produced - thought)
    else:
        written = min(bound, scale.catalog.median_output_tokens.get(features.kind, bound))
        produced = written + thought
    speed = scale.speeds.speed(model)
    total_ms = speed.total_ms(written)
    expected_cost = max_cost = None
    keeps_prompt = False
    later_cost = 0.0
    rates = scale.tariffs.rates(model.id, asked)
    if rates is not None:
        keeps_prompt = asked >= _LEAST_PREFIX and _is_asked_to_keep(served, features, rates, known)
        keeps = asked >= _LEAST_PREFIX and (keeps_prompt or _keeps(served, features))
        read = _read(served, scale, known) if keeps else 0
        expected_cost = _cost(rates, asked, read, (produced if produced < bound else bound) * answers, keeps=keeps)
        if known.further_turns:
            later_cost = (
                -known.again.get(model.id, 0.0) * _gained(rates, asked - read, keeps=keeps)
                if known.again
                else _evened(known.further_turns, expected_cost, _later(rates, asked, produced, keeps=keeps))
            )
        dearest = scale.tariffs.rates(model.id, features.most_input_tokens) or rates
        max_cost = _max_cost(dearest, features.most_input_tokens, bound * answers, features)
    quality, error = (expected.quality, expected.error) if expected else (model.quality_at(features.kind), None)
    first_ms, most_tokens = speed.first_token_ms, bound * answers
    weighed = Candidate(
        *(served, quality, first_ms, total_ms, asked, expected_cost, max_cost, most_tokens, added),
        *((), error, written, later_cost, 0.0, 0, keeps_prompt),
    )
    return weighed.violating(tuple(_violations(weighed, features, limits)))


def unsupported(served: ServedModel, features: Features, *, by_name: bool) -> Iterator[Violation]:
    """What of a question the model does not take, each with its field."""
    model = served.model
    for needed, capability, field in (
        (features.has_tools, "tools", "tools"),
        (features.images > 0, "images", "messages"),
        (features.has_schema, "json_schema", "response_format"),
    ):
        if needed and capability not in model.capabilities:
            yield Violation(Constraint.CAPABILITY, f"no {capability}", field=features.field(field))
    native = is_native(served, features)
    takes_both = by_name or (native and features.api == Api.API_OPENAI_RESPONSES)
    only_without_reasoning = model.tools_only_without_reasoning and not takes_both
    if features.has_tools and only_without_reasoning and model.reasons(features.reasoning_effort):
        words = "takes tools only with reasoning_effort none"
        yield Violation(Constraint.CAPABILITY, words, field="tools")
    refused = {features.field(name): name for name in features.parameters & model.refused(features.reasoning_effort)}
    if not native:
        beyond = features.untranslatable if speaks(served, features) else features.only_in_its_protocol
        refused |= {name: name for name in beyond}
    for field, name in sorted(refused.items()):
        yield Violation(Constraint.PARAMETER, f"does not take {name}", field=field)
    most = features.max_output_tokens
    if most is not None and most > model.max_output_tokens:
        words = f"answers of at most {model.max_output_tokens} tokens"
        yield Violation(Constraint.ANSWER, words, most / model.max_output_tokens - 1, features.field("max_tokens"))


def is_native(served: ServedModel, features: Features) -> bool:
    """Whether the question goes to the provider as it is."""
    return served.responses if features.api == Api.API_OPENAI_RESPONSES else features.api == PROTOCOLS[served.protocol]


def speaks(served: ServedModel, features: Features) -> bool:
    """Whether the question can be said to the provider as it is, or nearly: our own form and responses to OpenAI's."""
    near_openai = features.api in (_OWN_FORM, Api.API_OPENAI_RESPONSES)
    return is_native(served, features) or (near_openai and served.protocol == "openai")


def _violations(weighed: Candidate, features: Features, limits: Limits) -> Iterator[Violation]:
    served, quality, first_token_ms, total_ms, asked, _, max_cost, _, _, _, error, *_ = weighed
    model = served.model
    if not served.provider:
        yield Violation(Constraint.SERVED, "not served here")
        return
    if (limits.allowed_models or limits.key_allowed_models) and not allows(model.id, limits):
        yield Violation(Constraint.MODELS, "not among the allowed models")
    if limits.allowed_providers and served.provider not in limits.allowed_providers:
        yield Violation(Constraint.PROVIDERS, f"{served.provider} is not among the allowed providers")
    if not features.is_bare:
        yield from unsupported(served, features, by_name=limits.by_name)
    needed = asked + (features.max_output_tokens or 0)
    if needed > model.context_window:
        words = f"window of {model.context_window} tokens, about {needed} needed"
        yield Violation(Constraint.WINDOW, words, needed / model.context_window - 1)
    if max_cost is None and (not limits.by_name or limits.price_needed):
        yield Violation(Constraint.PRICE, "price unknown")
    if quality < limits.floor:
        yield Violation(Constraint.FLOOR, f"quality {quality:.2f} under the floor", 1 - quality / limits.floor)
    sure = quality - limits.sureness * (error or 0.0)
    if sure < limits.quality:
        bound = f" (at least {sure:.2f})" if sure < quality else ""
        words = f"quality {quality:.2f}{bound} under {limits.quality:.2f}"
        yield Violation(Constraint.QUALITY, words, 1 - sure / limits.quality)
    if limits.first_token_ms is not None and first_token_ms > limits.first_token_ms:
        words = f"first token after {first_token_ms:.0f} ms"
        yield Violation(Constraint.FIRST_TOKEN, words, first_token_ms / limits.first_token_ms - 1)
    if limits.total_ms is not None and total_ms > limits.total_ms:
        yield Violation(Constraint.LATENCY, f"takes {total_ms:.0f} ms", total_ms / limits.total_ms - 1)
    if limits.cost_nanos is not None and max_cost is not None and max_cost > limits.cost_nanos:
        yield Violation(Constraint.COST, "may cost more than the budget", max_cost / limits.cost_nanos - 1)


def _cost(rates: Rates, asked: int, read: int, answered: int, *, keeps: bool) -> int:
    """Nano-dollars; of the tokens `asked`, the provider reads so many from its prompt cache."""
    fresh = rates.cache_write_5m if keeps else rates.input
    return (read * rates.cache_read + (asked - read) * fresh + answered * rates.output + _MILLION // 2) // _MILLION


def _read(served: ServedModel, scale: Scale, known: Known) -> int:
    """Tokens that the model's provider has in its prompt cache from a question before."""
    seen_bytes = known.prefixes.get(served.model.id) if known.prefixes else None
    kept = scale.tokens.input_tokens(served.model.id, seen_bytes) if seen_bytes else 0
    return kept if kept >= _LEAST_PREFIX else 0


def _gained(rates: Rates, fresh: int, *, keeps: bool) -> float:
    """Nano-dollars that a later turn need not pay at this model for what it reads for the first time now."""
    return fresh * max(0, rates.cache_write_5m - rates.cache_read) / _MILLION if keeps else 0.0


def _later(rates: Rates, asked: int, answered: int, *, keeps: bool) -> float:
    """Nano-dollars of one later turn of the conversation, as if this model answered it, too."""
    return (asked * (rates.cache_read if keeps else rates.input) + answered * rates.output) / _MILLION


def _evened(turns: float, now: float, later: float) -> float:
    """What is to be added to the cost `now` for the mean over this and so many later turns."""
    return turns * (later - now) / (1 + turns)


def _is_asked_to_keep(served: ServedModel, features: Features, rates: Rates, known: Known) -> bool:
    """Whether a provider that keeps prompts only on request is asked to keep this one, which marks nothing itself.

    It pays where reading it again is likelier than what writing costs more, by what reading costs less.
    """
    if served.model.vendor != "anthropic" or served.protocol != "anthropic" or features.writes_cache or not known.again:
        return False
    again = known.again.get(served.model.id, 0.0)
    return again * (rates.input - rates.cache_read) > rates.cache_write_5m - rates.input


def _keeps(served: ServedModel, features: Features) -> bool:
    """Whether its provider keeps what is asked, by itself or because it is asked to."""
    return served.protocol != "anthropic" or features.writes_cache


def _max_cost(rates: Rates, asked: int, answered: int, features: Features) -> int:
    """What a prompt cache keeps may cost more than what it does not."""
    dearest = rates.input if rates.input > rates.cache_write_5m else rates.cache_write_5m
    if features.writes_cache:
        dearest = max(dearest, rates.cache_write_1h)
    return -(-(asked * dearest + answered * rates.output) // _MILLION)
