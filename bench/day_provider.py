"""What recorded answers cost at their makers, who kept the beginnings of prompts as their price lists say."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from asahi_core.clock import ManualClock
from asahi_router.evaluate.trial import Part
from bench.day_traffic import Kind, Question, Request

_LEAST, _STEP, _KEPT_S = 1_024, 128, 300.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a provider keeps the beginning of a prompt: prices as shares of the input price."""

    read: float
    write: float = 1.0
    asked: bool = False
    """Only when it is asked to."""


KEEPING: Mapping[str, Keeping] = {
    "gpt-4o-mini-*": Keeping(0.5),
    "gpt-4o-2024-08-06*": Keeping(0.5),
    "deepseek-*": Keeping(0.1),
    "DeepSeek-*": Keeping(0.1),
    "claude-3-5-*": Keeping(0.1, 1.25, asked=True),
    "claude-3-opus-*": Keeping(0.1, 1.25, asked=True),
    "claude-3-haiku-*": Keeping(0.12, 1.2, asked=True),
}
"""Of the recorded models whose makers kept prompts, by their price lists of 2024; Google's storage by the hour is left
out. All others kept nothing."""


def keeping_of(model: str) -> Keeping | None:
    """How its provider keeps prompts; None: it does not."""
    return next((keeping for glob, keeping in KEEPING.items() if fnmatchcase(model, glob)), None)


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars of one call."""

    full: float
    """As if nothing were kept."""
    discount: float
    """What the provider's prompt cache takes off it; negative: writing to it cost more than was read."""

    @property
    def cost(self) -> float:
        """What is paid."""
        return self.full - self.discount


class Provider:
    """Bills recorded answers, and keeps the beginnings of prompts as their makers did."""

    def __init__(self, part: Part, rates: Mapping[str, tuple[float, float]], clock: ManualClock) -> None:
        """`rates`: dollars per input and output token."""
        self._part = part
        self._rates = rates
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[float, int]] = {}

    def bill(self, model: str, question: Question, request: Request, *, asked_to_keep: bool) -> Bill:
        """An answer of `model` to a question of the request."""
        rate, before = self._rates[model][0], request.prefix_tokens
        own = float(self._part.table.cost_usd[question.row, self._part.table.models.index(model)])
        full, keeping = own + before * rate, keeping_of(model)
        if keeping is None or (keeping.asked and not asked_to_keep):
            return Bill(full, 0.0)
        now, key = self._clock.monotonic(), (model, request.session)
        at, size = self._kept.get(key, (-_KEPT_S - 1, 0))
        read = min(size, before) if now - at <= _KEPT_S else 0
        whole = before
        if request.kind is Kind.CONVERSATION:  # the next turn has this question in front
            whole += int(self._part.asked_tokens[question.row])
        kept = whole // _STEP * _STEP
        if kept < _LEAST:
            return Bill(full, 0.0)
        self._kept[key] = now, kept
        written = max(0, kept - read) if keeping.asked else 0
        return Bill(full, rate * (read * (1 - keeping.read) - written * (keeping.write - 1)))
