"""What outcomes say about one question: the expected quality of each model on it, and whether to leave the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asahi.router.v1.router_pb2 import Task
from asahi_core.clock import Clock
from asahi_core.prices import Books
from asahi_router.domain.estimate import BYTES_PER_TOKEN
from asahi_router.domain.experience import Experience
from asahi_router.domain.features import Features
from asahi_router.domain.learning.basis import Floats
from asahi_router.domain.learning.controls import Control
from asahi_router.domain.learning.guard import RULES, Doubles, Guard, Judged
from asahi_router.domain.learning.learned import Told
from asahi_router.domain.lessons import Aim, vectors
from asahi_router.domain.tariffs import Tariffs

_BEST = 5.0
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of a model on the question."""

    quality: float
    """0 to 5."""
    error: float
    """Standard error of it."""
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What outcomes say about a question."""

    models: Mapping[str, Expected]
    """By catalog id; those of which enough is known."""
    outcomes: int
    """How many there are."""
    by_meaning: bool
    """Whether the question's embedding was looked at, or its form alone."""
    told: Told
    guard: Guard | None
    """None: the baseline has not been calibrated yet, or too little is known of it."""
    harm: Control | None = None
    """What routing lost, where it surely lost more than may be lost; then the baseline answers."""
    common: bool = False
    """Whether they are those of all organisations that share theirs."""

    def judge(self, costs: Mapping[str, float]) -> Judged | None:
        """Whether to leave the baseline, for which of the models that are expected to cost so much; None: who knows."""
        if self.guard is None or self.guard.baseline not in costs or self.guard.baseline not in self.models:
            return None
        if self.harm is not None:
            return Judged(self.guard.baseline, {}, strange=False)
        return self.guard.judge(self.told, costs)


def evidence_on(experience: Experience, task: Task, features: Features, aim: Aim) -> Evidence | None:
    """What is known about the question; None: nothing."""
    organization_id, embedding, shares = task.organization_id, task.prompt_embedding, task.policy.shares_outcomes
    experience.shares(organization_id, shares=shares)
    lesson = experience.lesson(organization_id, embedding, common=shares)
    if lesson is None:
        return None
    learned = lesson.taught.learned
    seen = vectors([embedding]) if learned.basis.embeds else None
    told = learned.tell(np.array([features.form], np.float32), seen)
    quality, error, tokens = told.quality[0].tolist(), told.error[0].tolist(), told.output_tokens[0].tolist()
    models = {
        model: Expected(_BEST * min(1.0, max(0.0, quality[n])), _BEST * error[n], tokens[n])
        for n, model in enumerate(learned.models)
        if learned.answers[n] >= RULES.fewest
    }
    guard = experience.guard(lesson, aim)
    harm = experience.harm(organization_id, aim)
    return Evidence(models, int(learned.answers.sum()), learned.basis.embeds, told, guard, harm, not lesson.of)


class TariffCosts:
    """Prices a memory at the rates of the day, as its organisation pays them."""

    def __init__(self, prices: Books, clock: Clock) -> None:
        self._tariffs = Tariffs(prices, clock.now())
        self._clock = clock

    def expected(self, organization_id: str, models: Sequence[str], asked_bytes: Floats, told: Told) -> Doubles:
        """(n, m) nano-dollars that each question is expected to cost at each model; NaN: its price is not known."""
        self._tariffs.turn_to(self._clock.now(), organization_id)
        asked = asked_bytes.astype(np.float64) / BYTES_PER_TOKEN
        costs = np.full((len(asked), len(models)), np.nan)
        for place, model in enumerate(models):
            rates = self._tariffs.rates(model, int(np.median(asked)))
            if rates is not None:
                costs[:, place] = (asked * rates.input + told.output_tokens[:, place] * rates.output) / _MILLION
        return costs
