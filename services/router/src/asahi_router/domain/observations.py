"""How fast models are, learned from their answers; until then, what the catalog expects."""

from dataclasses import dataclass

from asahi_router.domain.models import CatalogModel

_LEAST_WEIGHT = 0.1
"""Of a new observation. The catalog's figure counts as one observation, the newest ten or so decide."""
_LEAST_MS = 1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model answers."""

    first_token_ms: float
    output_tokens_per_second: float

    def total_ms(self, output_tokens: float) -> float:
        """Milliseconds of an answer of so many tokens."""
        return self.first_token_ms + output_tokens * 1000 / self.output_tokens_per_second


@dataclass(slots=True)
class _Seen:
    count: int
    speed: Speed


class Observations:
    """The speed of each model: an exponentially weighted mean. As many models as the catalog has."""

    def __init__(self, catalog: dict[str, CatalogModel]) -> None:
        """`catalog`: models by id; others are not observed."""
        self._expected = {
            model.id: Speed(model.first_token_ms, model.output_tokens_per_second) for model in catalog.values()
        }
        self._seen: dict[str, _Seen] = {}

    def observed(self, model: str, first_token_ms: float | None, shown_tokens: int, duration_ms: float) -> None:
        """A call that answered; `first_token_ms`: None where the answer came in one piece.

        `shown_tokens`: without those of thought, which come before the first. A whole answer says only how long all of
        it took: both figures are stretched or shrunk alike then.
        """
        expected = self._expected.get(model)
        if expected is None or shown_tokens <= 0 or duration_ms <= 0:
            return
        seen = self._seen.get(model)
        if seen is None:
            seen = self._seen[model] = _Seen(1, expected)
        now = _measured(seen.speed, first_token_ms, shown_tokens, max(duration_ms, _LEAST_MS))
        weight = max(_LEAST_WEIGHT, 1 / (seen.count + 1))
        seen.count += 1
        # Means of times, not of rates: what is asked of them are times.
        first = seen.speed.first_token_ms * (1 - weight) + now.first_token_ms * weight
        per_token = (1 - weight) / seen.speed.output_tokens_per_second + weight / now.output_tokens_per_second
        seen.speed = Speed(first, 1 / per_token)

    def speed(self, model: CatalogModel) -> Speed:
        """How fast the model is expected to be."""
        seen = self._seen.get(model.id)
        return seen.speed if seen is not None else self._expected[model.id]


def _measured(before: Speed, first_token_ms: float | None, shown_tokens: int, duration_ms: float) -> Speed:
    if first_token_ms is None or shown_tokens < 2:
        stretch = duration_ms / before.total_ms(shown_tokens)
        return Speed(before.first_token_ms * stretch, before.output_tokens_per_second / stretch)
    writing_ms = duration_ms - first_token_ms
    if writing_ms < _LEAST_MS:  # all of it came at once: nothing is known of how fast it is written
        return Speed(first_token_ms, before.output_tokens_per_second)
    return Speed(first_token_ms, (shown_tokens - 1) * 1000 / writing_ms)
