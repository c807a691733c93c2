"""Questions of `/v1/embeddings`: the model that is named, and what it takes.

No other model ever stands in for it: vectors of two models cannot be compared.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import msgspec

from asahi.router.v1 import router_pb2 as pb
from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import RoutingMode, RoutingPolicy
from asahi_core.clock import Clock
from asahi_core.errors import (
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    NoModelSatisfies,
    PriceUnknown,
    UnsupportedByModel,
)
from asahi_core.globs import matches_any
from asahi_router.domain.completion_ports import Decider, Ranking
from asahi_router.domain.estimate import prompt_bytes
from asahi_router.domain.reasons import about_usd
from asahi_router.domain.tariffs import Tariffs

EMBEDDINGS = Api.API_OPENAI_EMBEDDINGS
LOCAL = "local"
"""The provider that is the cache service's own model."""
_MILLION = 1_000_000
_FRAMING_TOKENS = 64
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model that embeds texts, wherever it is served."""

    id: str
    vendor: str
    dimensions: int
    """Numbers of a vector."""
    max_input_tokens: int
    """Of one text."""
    least_dimensions: int = 0
    """Fewest numbers that a vector may be asked to have; 0: always `dimensions`."""
    takes_tokens: bool = False
    """Whether a text may be given as the numbers of its tokens."""
    aliases: tuple[str, ...] = ()

    def makes(self, dimensions: int) -> bool:
        """Whether its vectors can have so many numbers."""
        return (self.least_dimensions or self.dimensions) <= dimensions <= self.dimensions


@dataclass(frozen=True, slots=True)
class ServedEmbedding:
    """An embedding model, and the provider that serves it here."""

    model: EmbeddingModel
    provider: str = ""
    """The provider's id; empty: none does."""
    provider_model: str = ""
    """The model's name as the provider writes it."""


class EmbeddingQuestion(msgspec.Struct):
    """What is read of a body; the edge has checked its shape."""

    input: list[str | list[int]]
    dimensions: int | None = None

    @property
    def texts(self) -> list[str]:
        """The inputs that are texts."""
        return [one for one in self.input if isinstance(one, str)]


_questions = msgspec.json.Decoder(EmbeddingQuestion)


def read_embedding_question(body: bytes) -> EmbeddingQuestion:
    """The question in a body; raises InvalidRequest if it is none."""
    try:
        question = _questions.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body cannot be understood: {str(error)[:200]}.") from error
    if not question.input:
        raise InvalidRequest("'input' must hold at least one text.", param="input")
    return question


@dataclass(frozen=True, slots=True)
class EmbeddingChoice:
    """The model that answers; a `completion_ports.Choice`."""

    model: str
    provider: str
    provider_model: str
    max_cost_nanos: int | None
    max_output_tokens: int | None = 0
    added_max_output_tokens: int = 0
    keeps_when_asked: bool = False
    keeps_prompt: bool = False
    """No provider keeps prompts of embeddings."""
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbeddingRanking:
    """What was decided; a `completion_ports.Ranking`."""

    decision: pb.Decision
    chain: Sequence[EmbeddingChoice]
    features: None = None
    """Nothing is learned from it."""
    chance: None = None

    def better_than(self, model: str) -> Sequence[EmbeddingChoice]:
        """No model's vectors stand for another's."""
        return ()


class Tokens(Protocol):
    """Estimates tokens."""

    def input_tokens(self, model: str, asked_bytes: int) -> int:
        """Input tokens of a question of so many bytes."""
        ...


class EmbeddingDecider:
    """Decides questions of `/v1/embeddings`, and hands all others on."""

    def __init__(
        self,
        models: Sequence[ServedEmbedding],
        tariffs: Tariffs,
        tokens: Tokens,
        clock: Clock,
        *,
        others: Decider,
    ) -> None:
        self._models = models
        self._names = {name: served for served in models for name in (*served.model.aliases, served.model.id)}
        self._tariffs = tariffs
        self._tokens = tokens
        self._clock = clock
        self._others = others

    def decide(self, task: pb.Task, *, explain: bool, streamed: bool = False) -> Ranking:
        """The model that answers `task`, and no other where it is a question of `/v1/embeddings`.

        Raises:
            InvalidRequest: it cannot be understood, or names no model.
            ModelNotFound, ModelNotAllowed, UnsupportedByModel, PriceUnknown, NoModelSatisfies: about that model.
            AsahiError: what the others' decider raises.
        """
        if not task.prompt.HasField("native") or task.prompt.native.api != EMBEDDINGS:
            return self._others.decide(task, explain=explain, streamed=streamed)
        question = read_embedding_question(task.prompt.native.body)
        served = self._named(task)
        _check_taken(question, served.model, self._models)
        self._tariffs.turn_to(self._clock.now(), task.organization_id)
        model, asked = served.model.id, prompt_bytes(task.prompt)
        rates = self._tariffs.rates(model, 0)
        most = None if rates is None else _cost(rates.input, asked + _FRAMING_TOKENS)
        expected = None if rates is None else _cost(rates.input, self._tokens.input_tokens(model, asked))
        _check_price(task, model, most)
        cost = "its price is not known" if expected is None else f"about {about_usd(expected)} expected"
        decision = pb.Decision(
            model=model,
            provider=served.provider,
            reason=f"The caller named {model}, which embeds {_inputs(len(question.input))}; {cost}.",
            expected_cost_nanos=expected or 0,
            max_cost_nanos=most,
            reference_model=model,
            task_type="embedding",
        )
        return EmbeddingRanking(decision, (EmbeddingChoice(model, served.provider, served.provider_model, most),))

    def _named(self, task: pb.Task) -> ServedEmbedding:
        """The model that the caller named, which the key may use and somebody serves."""
        routing, policy = task.routing, task.policy
        if routing.mode != RoutingMode.ROUTING_MODE_EXPLICIT:
            raise InvalidRequest("Embeddings are asked of a model that is named.", param="model")
        served = self._names.get(routing.model)
        if served is None:
            raise self._not_found(routing.model, policy)
        name = served.model.id
        if not served.provider:
            raise ModelNotFound(f"The model {name!r} is known, but no provider serves it here.", param="model")
        if not _may_use(name, policy):
            patterns = ", ".join((*policy.allowed_models, *policy.key_allowed_models))
            raise ModelNotAllowed(f"The key may not use {name!r}; it may use {patterns}.", param="model")
        if policy.allowed_providers and served.provider not in policy.allowed_providers:
            allowed = ", ".join(policy.allowed_providers)
            message = f"The key may not use {name!r} of {served.provider}; allowed providers are {allowed}."
            raise ModelNotAllowed(message, param="model")
        return served

    def _not_found(self, name: str, policy: RoutingPolicy) -> ModelNotFound:
        known = [s.model.id for s in self._models if s.provider and _may_use(s.model.id, policy)]
        close = get_close_matches(name[:100], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"those that do are {', '.join(known) or 'none'}."
        return ModelNotFound(f"There is no model {name[:100]!r} that embeds texts; {hint}", param="model")


def _may_use(model: str, policy: RoutingPolicy) -> bool:
    allowed = policy.allowed_models, policy.key_allowed_models
    return all(not patterns or matches_any(model, patterns) for patterns in allowed)


def _check_taken(question: EmbeddingQuestion, model: EmbeddingModel, models: Sequence[ServedEmbedding]) -> None:
    if not model.takes_tokens and len(question.texts) < len(question.input):
        takers = _some(s.model.id for s in models if s.provider and s.model.takes_tokens)
        message = f"{model.id} takes texts in 'input', not the numbers of tokens; models that do: {takers}."
        raise UnsupportedByModel(message, param="input")
    asked = question.dimensions
    if asked is not None and not model.makes(asked):
        takers = _some(s.model.id for s in models if s.provider and s.model.makes(asked))
        span = f"{model.least_dimensions} to {model.dimensions}" if model.least_dimensions else f"{model.dimensions}"
        message = f"{model.id} makes vectors of {span} numbers; 'dimensions' is {asked}; models that do: {takers}."
        raise UnsupportedByModel(message, param="dimensions")


def _check_price(task: pb.Task, model: str, most: int | None) -> None:
    if most is None and (task.policy.price_needed or task.routing.HasField("cost_budget_nanos")):
        message = f"The price of {model!r} is not known, so that the budgets that apply cannot be kept."
        raise PriceUnknown(message, param="model")
    if most is not None and task.routing.HasField("cost_budget_nanos") and most > task.routing.cost_budget_nanos:
        budget = about_usd(task.routing.cost_budget_nanos)
        message = f"{model} may cost up to {about_usd(most)} for these inputs; 'cost_budget' is {budget}."
        raise NoModelSatisfies(message, param="cost_budget")


def _some(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:_MOST_NAMED]) + (", …" if len(found) > _MOST_NAMED else "") if found else "none here"


def _cost(nanos_per_million: int, tokens: int) -> int:
    """Rounded up: it bounds what is paid."""
    return -(-nanos_per_million * tokens // _MILLION)


def _inputs(count: int) -> str:
    return "one input" if count == 1 else f"{count} inputs"
