"""The shape of catalog and provider files: what a field may hold, checked before anything is built of it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s*?\[\]]+$")]
"""No blanks, and none of the marks of glob patterns."""
Tokens = Annotated[int, Field(gt=0, le=100_000_000)]
Quality = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Figure = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(_Entry):
    """A model of a catalog file."""

    id: Name
    vendor: Name
    aliases: tuple[Name, ...] = ()
    context_window: Tokens
    max_output_tokens: Tokens
    capabilities: tuple[Literal["tools", "images", "json_schema", "reasoning"], ...] = ()
    refuses: frozenset[Name] = frozenset()
    refuses_while_reasoning: frozenset[Name] = frozenset()
    default_reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    tools_only_without_reasoning: bool = False
    median_reasoning_tokens: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    quality: Annotated[dict[Name, Quality], Field(min_length=1)]
    quality_source: Annotated[str, Field(min_length=1, max_length=500)]
    first_token_ms: Figure
    output_tokens_per_second: Figure
    latency_source: Annotated[str, Field(min_length=1, max_length=500)]


class EmbeddingEntry(_Entry):
    """A model of a catalog file that embeds texts."""

    id: Name
    vendor: Name
    aliases: tuple[Name, ...] = ()
    dimensions: Annotated[int, Field(gt=0, le=100_000)]
    least_dimensions: Annotated[int, Field(ge=0, le=100_000)] = 0
    max_input_tokens: Tokens
    takes_tokens: bool = False


class LatencyLimits(_Entry):
    """Most milliseconds to the first token by preference; None: no limit."""

    slow: Figure | None = None
    normal: Figure | None
    fast: Figure | None
    instant: Figure | None


class CatalogEntry(_Entry):
    """A catalog file, but for its models of both kinds, each of which is checked by itself."""

    baseline_model: Name
    latency_limits_ms: LatencyLimits
    median_output_tokens: Annotated[dict[Name, Tokens], Field(min_length=1)]
    definitions: Any = None


class ProviderEntry(_Entry):
    """A provider of a provider file. `models`: catalog ids, or catalog ids with the provider's own names for them."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    protocol: Literal["openai", "anthropic"]
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=500)]
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    models: Annotated[dict[Name, Name] | tuple[Name, ...], Field(min_length=1)]
    default_max_tokens: Tokens = 4096
    responses: bool = False
    """Whether it speaks OpenAI's responses beside `protocol`, which is `openai` then."""

    @property
    def names(self) -> dict[str, str]:
        """The provider's own names by catalog id."""
        return self.models if isinstance(self.models, dict) else {model: model for model in self.models}
