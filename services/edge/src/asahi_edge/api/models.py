"""`/models` and `/v1/models`: the catalog, as Asahi, OpenAI and Anthropic show it."""

from difflib import get_close_matches
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2 import ListModelsResponse, Model, ModelHealth
from asahi_core.errors import ModelNotFound
from asahi_edge.api.answers import dollars_or_none
from asahi_edge.api.authentication import authorize
from asahi_edge.api.errors import wants_anthropic_shape
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import documented, documented_models
from asahi_edge.api.routing import VIRTUAL_MODELS
from asahi_edge.api.schemas.models import (
    AnthropicModel,
    AnthropicModelList,
    Catalog,
    CatalogModel,
    EmbeddingModel,
    ModelPrices,
    ModelSpeed,
    OpenAIModel,
    OpenAIModelList,
)
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import may_use_model

router = APIRouter()
_HEALTH = {ModelHealth.MODEL_HEALTH_AVAILABLE: "available", ModelHealth.MODEL_HEALTH_UNAVAILABLE: "unavailable"}
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""Anthropic's own word for a release date that is not known."""


@router.get("/models", tags=["Models"], **documented(summary="The catalog", answer=Catalog, errors=(401, 403, 503)))
async def catalog(request: Request) -> Response:
    """The catalog: prices, windows, capabilities, expected quality by kind of work, live latency and health."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    listed = await services_of(request).catalog.list_models()
    models = [_catalog_model(model, verdict) for model in listed.models]
    embedding_models = [_embedding_model(model, verdict) for model in listed.embedding_models]
    return json_response(Catalog(data=models, embedding_models=embedding_models, baseline_model=listed.baseline_model))


@router.get(
    "/v1/models",
    tags=["OpenAI-compatible"],
    **documented_models(
        summary="List models", openai=OpenAIModelList, anthropic=AnthropicModelList, errors=(401, 403, 503)
    ),
)
async def list_models(request: Request) -> Response:
    """The models that this key may name; with `anthropic-version` in Anthropic's shape."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    names = _nameable(await services_of(request).catalog.list_models(), verdict)
    if wants_anthropic_shape(request):
        page = [_anthropic_model(name) for name in names]
        return json_response(
            AnthropicModelList(data=page, has_more=False, first_id=next(iter(names)), last_id=list(names)[-1])
        )
    return json_response(OpenAIModelList(data=[_openai_model(name, owner) for name, owner in names.items()]))


@router.get(
    "/v1/models/{model:path}",
    tags=["OpenAI-compatible"],
    **documented_models(summary="One model", openai=OpenAIModel, anthropic=AnthropicModel, errors=(401, 403, 404, 503)),
)
async def get_model(
    request: Request, model: Annotated[str, Path(description="A model's id, or `asahi` for Asahi's own choice.")]
) -> Response:
    """One model; with `anthropic-version` in Anthropic's shape."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    names = _nameable(await services_of(request).catalog.list_models(), verdict)
    if model not in names:
        close = get_close_matches(model[:100], names, n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else "GET /v1/models lists them."
        raise ModelNotFound(f"There is no model {model[:100]!r} for this key; {hint}", param="model")
    if wants_anthropic_shape(request):
        return json_response(_anthropic_model(model))
    return json_response(_openai_model(model, names[model]))


def _nameable(listed: ListModelsResponse, verdict: Verdict) -> dict[str, str]:
    """Names that callers may send as `model`, with their makers: Asahi's own first."""
    known: list[Model | pb.EmbeddingModel] = [*listed.models, *listed.embedding_models]
    served = {m.id: m.vendor for m in known if m.provider and may_use_model(verdict, m.id)}
    return dict.fromkeys(VIRTUAL_MODELS, "asahi") | served


def _openai_model(name: str, owner: str) -> OpenAIModel:
    return OpenAIModel(id=name, owned_by=owner)


def _anthropic_model(name: str) -> AnthropicModel:
    return AnthropicModel(id=name, display_name=name, created_at=_UNKNOWN_TIME)


def _embedding_model(model: pb.EmbeddingModel, verdict: Verdict) -> EmbeddingModel:
    price = model.input_nanos_per_million if model.HasField("input_nanos_per_million") else None
    return EmbeddingModel(
        id=model.id,
        aliases=list(model.aliases),
        vendor=model.vendor,
        provider=model.provider or None,
        allowed=may_use_model(verdict, model.id),
        dimensions=model.dimensions,
        least_dimensions=model.least_dimensions,
        max_input_tokens=model.max_input_tokens,
        input_per_million=dollars_or_none(price),
        health=_HEALTH.get(model.health, "not served here"),
    )


def _catalog_model(model: Model, verdict: Verdict) -> CatalogModel:
    prices = None
    if model.HasField("input_nanos_per_million") and model.HasField("output_nanos_per_million"):
        prices = ModelPrices(
            input_per_million=Dollars(model.input_nanos_per_million),
            cached_input_per_million=Dollars(model.cache_read_nanos_per_million),
            output_per_million=Dollars(model.output_nanos_per_million),
        )
    return CatalogModel(
        id=model.id,
        aliases=list(model.aliases),
        vendor=model.vendor,
        provider=model.provider or None,
        allowed=may_use_model(verdict, model.id),
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        capabilities=list(model.capabilities),
        prices=prices,
        quality_by_task=dict(model.quality_by_task),
        quality_source=model.quality_source,
        latency=ModelSpeed(
            first_token_ms=round(model.first_token_ms, 1),
            output_tokens_per_second=round(model.output_tokens_per_second, 1),
        ),
        health=_HEALTH.get(model.health, "not served here"),
    )
