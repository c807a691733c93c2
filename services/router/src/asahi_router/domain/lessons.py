"""What one memory of outcomes taught: expectations, guards, and what routing itself was worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from asahi_router.domain.examples import Judged
from asahi_router.domain.learning.basis import DIMENSIONS, Floats
from asahi_router.domain.learning.controls import Control, Log, compare, harms
from asahi_router.domain.learning.guard import Doubles, Guard
from asahi_router.domain.learning.learned import Measured, Taught, Told, learn


@dataclass(frozen=True, slots=True)
class Aim:
    """What a guard is calibrated for."""

    baseline: str
    epsilon: float
    """Share of the baseline's quality that may be lost."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What an organisation's log says of routing beside one baseline."""

    decisions: int = 0
    """Judged, of the last 30 days."""
    explored: int = 0
    """Of these, such that another model might have been drawn."""
    controls: Sequence[Control] = ()
    """Empty: too little is judged."""
    harm: Control | None = None
    """The router, where it surely lost more than may be lost: then the baseline takes over."""


class Costs(Protocol):
    """Prices what the memory holds."""

    def expected(self, organization_id: str, models: Sequence[str], asked_bytes: Floats, told: Told) -> Doubles:
        """(n, m) nano-dollars that each question is expected to cost at each model; NaN: its price is not known."""
        ...


@dataclass(slots=True)
class Lesson:
    """What was learned from one part of a memory: from all of it by form alone, or from what has embeddings."""

    taught: Taught
    asked_bytes: Floats
    judged: Sequence[Judged]
    of: str
    """The organisation; empty: those that share."""
    guards: dict[Aim, Guard] = field(default_factory=dict)


def lesson_of(organization_id: str, judged: Sequence[Judged], *, embeds: bool) -> Lesson:
    """What these answers teach; `embeds`: all of them have embeddings, which are looked at."""
    examples = [one.example for one in judged]
    models = tuple(sorted({example.model for example in examples}))
    place: Mapping[str, int] = {model: number for number, model in enumerate(models)}
    row, column = np.arange(len(examples)), np.array([place[example.model] for example in examples])
    quality = np.full((len(examples), len(models)), np.nan, np.float32)
    tokens = quality.copy()
    quality[row, column] = [one.score for one in judged]
    tokens[row, column] = [example.output_tokens for example in examples]
    forms = np.array([example.form for example in examples], np.float32)
    embeddings = vectors([example.embedding for example in examples]) if embeds else None
    # The same question has the same embedding. Without one there is no telling; equal forms are no equal questions.
    same = [example.embedding if embeds else example.request_id for example in examples]
    _, questions = np.unique(np.array(same, dtype=object), return_inverse=True)
    measured = Measured(models, forms, embeddings, quality, tokens, questions)
    taught = learn(measured, np.random.default_rng(len(examples)))
    # What was learned from is the most of it, and calibrating asks for outcomes alone.
    taught = replace(taught, measured=replace(measured, forms=forms[:0], embeddings=None))
    return Lesson(taught, np.array([example.asked_bytes for example in examples], np.float32), judged, organization_id)


def vectors(embeddings: Sequence[bytes]) -> Floats:
    """(n, 384) float32 of packed little-endian float32."""
    return np.frombuffer(b"".join(embeddings), "<f4").reshape(len(embeddings), DIMENSIONS)


def compared_by(lesson: Lesson, aim: Aim, costs: Costs, since: datetime) -> Compared:
    """What the answers of a lesson since then say of routing beside that baseline."""
    models = lesson.taught.learned.models
    rows, chances = [], []
    for row, one in enumerate(lesson.judged):
        chance = one.example.chance
        if chance is not None and chance.baseline == aim.baseline and one.example.answered_at >= since:
            rows.append(row)
            chances.append(chance)
    explored = sum(chance.least > 0 for chance in chances)
    expected = costs.expected(lesson.of, models, lesson.asked_bytes, lesson.taught.told)
    if aim.baseline not in models or np.isnan(expected[:, models.index(aim.baseline)]).any():
        return Compared(len(rows), explored)
    quality = lesson.taught.measured.quality[rows]
    chosen = np.argmax(~np.isnan(quality), axis=1)
    log = Log(
        models,
        models.index(aim.baseline),
        chosen,
        quality[np.arange(len(rows)), chosen].astype(np.float64),
        np.array([chance.propensity for chance in chances]),
        np.array([chance.least for chance in chances]),
        lesson.taught.told.quality[rows].astype(np.float64),
        expected[rows],
    )
    controls = compare(log, aim.epsilon)
    return Compared(len(rows), explored, controls, harms(controls, aim.epsilon))
