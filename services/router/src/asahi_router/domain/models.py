"""The models that there are, as values: what each can do, is expected to do, and who serves it here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import LatencyPreference

PROTOCOLS: Mapping[str, Api.ValueType] = {
    "openai": Api.API_OPENAI_CHAT_COMPLETIONS,
    "anthropic": Api.API_ANTHROPIC_MESSAGES,
}
"""What a model's provider may speak, and the API that it is."""
_MOST_CLOSE_NAMES = 3


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model, wherever it is served."""

    id: str
    vendor: str
    context_window: int
    """Most tokens of prompt and answer together."""
    max_output_tokens: int
    quality: Mapping[str, float]
    """Expected quality by kind of work, 0 to 5; kinds that are missing: the least of those that are there."""
    quality_source: str
    first_token_ms: float
    output_tokens_per_second: float
    aliases: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    """Of `tools`, `images`, `json_schema`, `reasoning`."""
    refuses: frozenset[str] = frozenset()
    """Parameters that it takes with no value but the default."""
    refuses_while_reasoning: frozenset[str] = frozenset()
    """The same, unless reasoning is switched off."""
    default_reasoning_effort: str = ""
    """What holds where a question does not say; empty: it reasons only when asked."""
    tools_only_without_reasoning: bool = False
    median_reasoning_tokens: int = 0
    """Output tokens that it adds to an answer by thinking first, as a rule."""

    def quality_at(self, kind: str) -> float:
        """Expected quality at this kind of work, 0 to 5."""
        known = self.quality.get(kind)
        return known if known is not None else min(self.quality.values())

    def refused(self, reasoning_effort: str) -> frozenset[str]:
        """Parameters that it refuses at this effort; empty: the question names none."""
        if not self.refuses_while_reasoning or not self.reasons(reasoning_effort):
            return self.refuses
        return self.refuses | self.refuses_while_reasoning

    def reasons(self, reasoning_effort: str) -> bool:
        """Whether it thinks first at this effort; empty: the question names none."""
        return (reasoning_effort or self.default_reasoning_effort or "none") != "none"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, and the provider that serves it here."""

    model: CatalogModel
    provider: str = ""
    """The provider's id; empty: none does."""
    provider_model: str = ""
    """The model's name as the provider writes it."""
    protocol: str = ""
    """What the provider speaks, a key of `PROTOCOLS`; empty: there is none."""
    default_max_tokens: int | None = None
    """Most tokens of an answer where the question does not say; None: as many as the model can."""
    responses: bool = False
    """Whether the provider speaks OpenAI's responses beside its protocol."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models, in the order of their ids, and what the operator decided about them."""

    models: tuple[ServedModel, ...]
    baseline: str
    """Catalog id of the operator's baseline model, which is among `models`."""
    latency_limits_ms: Mapping[LatencyPreference.ValueType, float]
    """Most milliseconds to the first token by preference; what is missing has no limit."""
    median_output_tokens: Mapping[str, int]
    """By kind of work."""
    _names: Mapping[str, ServedModel] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_alias = {alias: served for served in self.models for alias in served.model.aliases}
        object.__setattr__(self, "_names", by_alias | {served.model.id: served for served in self.models})

    def find(self, name: str) -> ServedModel | None:
        """The model of that id or alias; None: there is none."""
        return self._names.get(name)

    @property
    def baseline_model(self) -> ServedModel:
        """The operator's baseline model."""
        return self._names[self.baseline]

    def close_names(self, name: str, allowed: Iterable[str]) -> list[str]:
        """Names like a mistyped one, nearest first, of models among the ids `allowed`."""
        ids = set(allowed)
        names = [known for known, served in self._names.items() if served.model.id in ids]
        return get_close_matches(name[:100], names, n=_MOST_CLOSE_NAMES, cutoff=0.7)
