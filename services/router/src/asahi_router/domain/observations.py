"""How fast models are, learned from their answers; until then, what the catalog expects."""

from dataclasses import dataclass

from asahi_core.clock import Clock
from asahi_router.domain.models import CatalogModel

_LEAST_WEIGHT = 0.1
"""Of a new observation. The catalog's figure counts as one observation, the newest ten or so decide."""
_LEAST_MS = 1.0
_SILENT = 4
"""Times the wait that a model is taken to have needed which was silent all that time."""
_HALF_LIFE_S = 600.0
"""After which what was seen last counts half: a model that is left for being slow is asked again one day."""


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
    at: float
    """When, in monotonic seconds."""


class Observations:
    """The speed of each model: an exponentially weighted mean that ages. As many models as the catalog has."""

    def __init__(self, catalog: dict[str, CatalogModel], clock: Clock) -> None:
        """`catalog`: models by id; others are not observed."""
        self._expected = {
            model.id: Speed(model.first_token_ms, model.output_tokens_per_second) for model in catalog.values()
        }
        self._clock = clock
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
            seen = self._seen[model] = _Seen(1, expected, self._clock.monotonic())
        before = self._aged(seen, expected)
        now = _measured(before, first_token_ms, shown_tokens, max(duration_ms, _LEAST_MS))
        self._take(seen, before, now)

    def silent(self, model: str, waited_ms: float) -> None:
        """A call that was given up after so long, when nothing had come: it is taken to have needed far longer.

        How much longer nobody knows. Were it but a little, a model would be asked again whose share of a budget is too
        short each time.
        """
        expected = self._expected.get(model)
        if expected is None:
            return
        seen = self._seen.get(model) or _Seen(1, expected, self._clock.monotonic())
        before = self._aged(seen, expected)
        if _SILENT * waited_ms > before.first_token_ms:
            self._seen[model] = seen
            self._take(seen, before, Speed(_SILENT * waited_ms, before.output_tokens_per_second))

    def _take(self, seen: _Seen, before: Speed, now: Speed) -> None:
        weight = max(_LEAST_WEIGHT, 1 / (seen.count + 1))
        seen.count += 1
        seen.speed, seen.at = _mean(before, now, weight), self._clock.monotonic()

    def speed(self, model: CatalogModel) -> Speed:
        """How fast the model is expected to be."""
        seen, expected = self._seen.get(model.id), self._expected[model.id]
        return self._aged(seen, expected) if seen is not None else expected

    def _aged(self, seen: _Seen, expected: Speed) -> Speed:
        """What was seen, the nearer to what the catalog expects the longer it is ago."""
        return _mean(expected, seen.speed, 0.5 ** ((self._clock.monotonic() - seen.at) / _HALF_LIFE_S))


def _mean(one: Speed, other: Speed, weight: float) -> Speed:
    """`weight`: of the other, 0 to 1. Means of times, not of rates: what is asked of them are times."""
    first_ms = one.first_token_ms * (1 - weight) + other.first_token_ms * weight
    return Speed(first_ms, 1 / ((1 - weight) / one.output_tokens_per_second + weight / other.output_tokens_per_second))


def _measured(before: Speed, first_token_ms: float | None, shown_tokens: int, duration_ms: float) -> Speed:
    if first_token_ms is None or shown_tokens < 2:
        stretch = duration_ms / before.total_ms(shown_tokens)
        return Speed(before.first_token_ms * stretch, before.output_tokens_per_second / stretch)
    writing_ms = duration_ms - first_token_ms
    if writing_ms < _LEAST_MS:  # all of it came at once: nothing is known of how fast it is written
        return Speed(first_token_ms, before.output_tokens_per_second)
    return Speed(first_token_ms, (shown_tokens - 1) * 1000 / writing_ms)
