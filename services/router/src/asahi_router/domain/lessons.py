"""What one memory of outcomes taught: expectations, guards, and what routing itself was worth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from asahi_router.domain.examples import Example, Judged, Pair
from asahi_router.domain.learning.basis import DIMENSIONS, Floats
from asahi_router.domain.learning.cells import Cells, cells_of
from asahi_router.domain.learning.controls import Control, Log, compare, harms
from asahi_router.domain.learning.guard import Doubles, Guard
from asahi_router.domain.learning.learned import Measured, Taught, Told, learn
from asahi_router.domain.learning.trials import Seen, Trials, trials_of

MONTH = timedelta(days=30)
"""How long outcomes say something of models, and routing is compared and tried."""
_DAY = timedelta(days=1)

_FEWEST_FOR_A_LEVEL = 20
"""Judged answers whose mean says how good answers usually are; under that they are taken to be as good as can be."""


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
    """The first rows of what was measured; those of pairs alone follow."""
    of: str
    """The organisation; empty: those that share."""
    guards: dict[Aim, Guard] = field(default_factory=dict)
    cells: Cells | None = None
    """None: nothing was tried yet."""
    cell_of: dict[str, int] = field(default_factory=dict)
    """By request."""
    trials: dict[Aim, Trials] = field(default_factory=dict)
    tried_at: float = 0.0
    """Outcomes that there were then."""


def lesson_of(organization_id: str, judged: Sequence[Judged], pairs: Sequence[Pair] = (), *, embeds: bool) -> Lesson:
    """What these answers teach; `embeds`: all of them have embeddings, which are looked at.

    A pair says how two answers differ, not how good either is: the better of them is taken for as good as answers of
    the memory usually are, unless somebody judged the one that was given.
    """
    rows = {one.example.request_id: row for row, one in enumerate(judged)}
    examples = [one.example for one in judged]
    for pair in pairs:
        if rows.setdefault(_asked(pair.example), len(examples)) == len(examples):
            examples.append(pair.example)
    models = tuple(sorted({e.model for e in examples} | {m for p in pairs for m in (p.example.model, p.given_model)}))
    place: Mapping[str, int] = {model: number for number, model in enumerate(models)}
    quality = np.full((len(examples), len(models)), np.nan, np.float32)
    tokens = quality.copy()
    usual = float(np.mean([one.score for one in judged])) if len(judged) >= _FEWEST_FOR_A_LEVEL else 1.0
    for row, one in enumerate(judged):
        quality[row, place[one.example.model]] = one.score
        tokens[row, place[one.example.model]] = one.example.output_tokens
    for pair in pairs:
        row, given, other = rows[_asked(pair.example)], place[pair.given_model], place[pair.example.model]
        known = float(quality[row, given])
        level = usual - max(pair.difference, 0.0) if np.isnan(known) else known
        quality[row, given], quality[row, other] = level, level + pair.difference
        tokens[row, given], tokens[row, other] = pair.given_tokens, pair.example.output_tokens
    quality = np.clip(quality, 0.0, 1.0)
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


def _asked(example: Example) -> str:
    """The request that was answered, of an answer that nobody got."""
    return example.request_id.partition("/")[0]


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
    chosen = np.array([models.index(lesson.judged[row].example.model) for row in rows], np.intp)
    log = Log(
        models,
        models.index(aim.baseline),
        chosen,
        quality[np.arange(len(rows)), chosen].astype(np.float64),
        np.array([chance.propensity for chance in chances]),
        np.array([[chance.least_of(model) for model in models] for chance in chances]),
        lesson.taught.told.quality[rows].astype(np.float64),
        expected[rows],
    )
    controls = compare(log, aim.epsilon)
    decided = log.of(np.array([not chance.on_trial for chance in chances], bool))
    return Compared(len(rows), explored, controls, harms(compare(decided, aim.epsilon), aim.epsilon))


def try_out(lesson: Lesson, judged: Sequence[Judged], aims: Iterable[Aim], now: datetime) -> None:
    """Says how trials stand beside these baselines, by the month's outcomes that a lesson can place.

    `judged`: what the memory holds now, more than was learned from.
    """
    embeds = lesson.taught.learned.basis.embeds
    known = [one for one in judged if one.example.answered_at >= now - MONTH and (one.example.embedding or not embeds)]
    known.sort(key=lambda one: one.example.answered_at)
    _place(lesson, known)
    models = tuple(sorted({one.example.model for one in known}))
    place = {model: number for number, model in enumerate(models)}
    elapsed = max(now - known[0].example.answered_at, _DAY) if known else MONTH
    seen = Seen(
        models,
        np.array([lesson.cell_of[one.example.request_id] for one in known], np.intp),
        np.array([place[one.example.model] for one in known], np.intp),
        np.array([one.score for one in known]),
        len(known) * (MONTH / elapsed),
        len(known) * (max(MONTH - elapsed, MONTH / 2) / elapsed),
    )
    lesson.trials = {}
    for aim in aims:
        if lesson.cells is not None and aim.baseline in models:
            lesson.trials[aim] = trials_of(lesson.cells, seen, aim.baseline, aim.epsilon)


def _place(lesson: Lesson, known: Sequence[Judged]) -> None:
    new = [one.example for one in known if one.example.request_id not in lesson.cell_of]
    if not new:
        return
    basis = lesson.taught.learned.basis
    forms = np.array([example.form for example in new], np.float32)
    embeddings = vectors([example.embedding for example in new]) if basis.embeds else None
    if lesson.cells is None:
        lesson.cells = cells_of(basis, forms, embeddings, np.random.default_rng(len(new)))
    lesson.cell_of |= zip([one.request_id for one in new], lesson.cells.of(forms, embeddings).tolist(), strict=True)
