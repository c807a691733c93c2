"""The catalog as callers see it: with today's prices, live speed and health."""

from collections.abc import Callable, Sequence

from asahi.router.v1 import router_pb2 as pb
from asahi_core.clock import Clock
from asahi_router.domain.candidates import Scale
from asahi_router.domain.embedding import ServedEmbedding
from asahi_router.domain.models import ServedModel


class Listing:
    """Lists the catalog."""

    def __init__(
        self,
        scale: Scale,
        embeddings: Sequence[ServedEmbedding],
        available: Callable[[str, str], bool],
        clock: Clock,
    ) -> None:
        """`available`: whether a call to a model would go through now, by the ids of provider and model."""
        self._scale = scale
        self._embeddings = embeddings
        self._available = available
        self._clock = clock

    def models(self) -> pb.ListModelsResponse:
        """All models, by id."""
        catalog = self._scale.catalog
        self._scale.tariffs.turn_to(self._clock.now())
        return pb.ListModelsResponse(
            models=map(self._model, catalog.models),
            baseline_model=catalog.baseline,
            embedding_models=map(self._embedding, self._embeddings),
        )

    def _model(self, served: ServedModel) -> pb.Model:
        model, speed = served.model, self._scale.speeds.speed(served.model)
        rates = self._scale.tariffs.rates(model.id, 0)
        return pb.Model(
            id=model.id,
            provider=served.provider,
            vendor=model.vendor,
            context_window=model.context_window,
            max_output_tokens=model.max_output_tokens,
            capabilities=model.capabilities,
            quality_by_task=model.quality,
            quality_source=model.quality_source,
            input_nanos_per_million=rates.input if rates is not None else None,
            output_nanos_per_million=rates.output if rates is not None else None,
            cache_read_nanos_per_million=rates.cache_read if rates is not None else None,
            aliases=model.aliases,
            first_token_ms=speed.first_token_ms,
            output_tokens_per_second=speed.output_tokens_per_second,
            health=self._health(served),
        )

    def _embedding(self, served: ServedEmbedding) -> pb.EmbeddingModel:
        model, rates = served.model, self._scale.tariffs.rates(served.model.id, 0)
        return pb.EmbeddingModel(
            id=model.id,
            provider=served.provider,
            vendor=model.vendor,
            aliases=model.aliases,
            dimensions=model.dimensions,
            least_dimensions=model.least_dimensions,
            max_input_tokens=model.max_input_tokens,
            input_nanos_per_million=rates.input if rates is not None else None,
            health=self._health(served),
        )

    def _health(self, served: ServedModel | ServedEmbedding) -> pb.ModelHealth.ValueType:
        if not served.provider:
            return pb.ModelHealth.MODEL_HEALTH_UNSPECIFIED
        if self._available(served.provider, served.model.id):
            return pb.ModelHealth.MODEL_HEALTH_AVAILABLE
        return pb.ModelHealth.MODEL_HEALTH_UNAVAILABLE
