"""Bodies of `/models` and `/v1/models`."""

from typing import Annotated, Literal

from msgspec import Struct

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, described, one_of
from asahi_edge.api.schemas.inference import Quality


class ModelPrices(Struct, kw_only=True):
    """Today's prices for a short prompt, in dollars a million tokens."""

    input_per_million: Annotated[Dollars, described("Dollars a million tokens of a question.")]
    cached_input_per_million: Annotated[
        Dollars, described("Dollars a million such tokens that the provider had cached.")
    ]
    output_per_million: Annotated[Dollars, described("Dollars a million tokens of an answer.")]


class ModelSpeed(Struct, kw_only=True):
    """Measured here lately, else the catalog's figures."""

    first_token_ms: Annotated[float, described("Milliseconds to the first token.", ge=0)]
    output_tokens_per_second: Annotated[float, described("Tokens a second after it.", ge=0)]


class CatalogModel(Struct, kw_only=True):
    """A model of the catalog."""

    id: Annotated[str, described("What callers send as `model` or `model_override`.")]
    aliases: Annotated[list[str], described("Other names that are understood.")]
    vendor: Annotated[str, described("Who made it.")]
    provider: Annotated[str | None, described("Who serves it here; null: nobody, no key is set.")]
    allowed: Annotated[bool, described("Whether this key may use it.")]
    context_window: Annotated[Count, described("Tokens of prompt and answer together, at most.")]
    max_output_tokens: Annotated[Count, described("Tokens of an answer, at most.")]
    capabilities: Annotated[
        list[Annotated[str, one_of("A capability.", "tools", "images", "json_schema", "reasoning")]],
        described("What it takes beside text."),
    ]
    prices: Annotated[ModelPrices | None, described("null: no known price.")]
    quality_by_task: Annotated[dict[str, Quality], described("Expected quality by kind of work, 0 to 5.")]
    quality_source: Annotated[str, described("Where those figures are from.")]
    latency: Annotated[ModelSpeed, described("How fast it is.")]
    health: Annotated[
        str,
        one_of(
            "`unavailable`: it failed too often lately and is not asked for a while.",
            *("available", "unavailable", "not served here"),
        ),
    ]


class EmbeddingModel(Struct, kw_only=True):
    """A model of the catalog that embeds texts."""

    id: Annotated[str, described("What callers send as `model` to `/v1/embeddings`.")]
    aliases: Annotated[list[str], described("Other names that are understood.")]
    vendor: Annotated[str, described("Who made it; `local`: it runs here.")]
    provider: Annotated[str | None, described("Who serves it here; null: nobody, no key is set.")]
    allowed: Annotated[bool, described("Whether this key may use it.")]
    dimensions: Annotated[Count, described("Numbers of a vector.")]
    least_dimensions: Annotated[Count, described("Fewest that `dimensions` may ask for; 0: it makes no shorter ones.")]
    max_input_tokens: Annotated[Count, described("Tokens of one input, at most.")]
    input_per_million: Annotated[Dollars | None, described("Dollars a million tokens; null: no known price.")]
    health: Annotated[
        str,
        one_of("As of the other models.", "available", "unavailable", "not served here"),
    ]


class Catalog(Struct, kw_only=True):
    """The models that Asahi knows."""

    data: Annotated[list[CatalogModel], described("The models that answer.")]
    embedding_models: Annotated[list[EmbeddingModel], described("The models that embed texts.")]
    baseline_model: Annotated[str, described("What savings are measured against unless a policy says otherwise.")]


class OpenAIModel(Struct, kw_only=True):
    """A model, as OpenAI shows it."""

    id: Annotated[str, described("What callers send as `model`.")]
    object: Annotated[Literal["model"], described("Always `model`.")] = "model"
    created: Annotated[int, described("Not known: always 0.")] = 0
    owned_by: Annotated[str, described("Who made it; `asahi`: a name that leaves the choice to Asahi.")]


class OpenAIModelList(Struct, kw_only=True):
    """The models that a key may name, as OpenAI lists them."""

    object: Annotated[Literal["list"], described("Always `list`.")] = "list"
    data: Annotated[list[OpenAIModel], described("The models.")]


class AnthropicModel(Struct, kw_only=True):
    """A model, as Anthropic shows it."""

    type: Annotated[Literal["model"], described("Always `model`.")] = "model"
    id: Annotated[str, described("What callers send as `model`.")]
    display_name: Annotated[str, described("Its name for people.")]
    created_at: Annotated[Moment, described("Not known: the beginning of 1970.")]


class AnthropicModelList(Struct, kw_only=True):
    """The models that a key may name, as Anthropic lists them."""

    data: Annotated[list[AnthropicModel], described("The models, all of them.")]
    has_more: Annotated[bool, described("Whether there is another page: no.")]
    first_id: Annotated[str | None, described("The first model's id.")]
    last_id: Annotated[str | None, described("The last model's id.")]
