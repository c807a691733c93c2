"""What an organisation's own answers taught about models: its memory of outcomes, learned from in the background.

Each answered question is kept with its form, its embedding and the model that answered (`answered`). When somebody
says how good the answer was, the pair becomes part of the memory, here and in every other process on the same store.
Answers that failed without anybody saying so (`domain.signals`) join it in their share, and answers that were compared
(`Pair`). A memory that has grown is
learned from anew, on a thread. Nothing of one organisation is used for another, but
where both share: what they share is one more memory, for those whose own is too small. Where something was erased of an
organisation, each process drops that memory and reads it anew.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from structlog.typing import FilteringBoundLogger

from asahi_core.clock import Clock
from asahi_core.errors import AsahiError
from asahi_router.domain.examples import Example, ExampleStore, Judged, Pair
from asahi_router.domain.learning.basis import DIMENSIONS
from asahi_router.domain.learning.controls import Control
from asahi_router.domain.learning.guard import Guard, guard_of
from asahi_router.domain.learning.trials import Trials
from asahi_router.domain.lessons import MONTH, Aim, Compared, Costs, Lesson, compared_by, lesson_of, try_out
from asahi_router.domain.signals import REPEATED, SCORES, counts, score_of, shares

_FEWEST = 200
"""Outcomes from which an organisation's memory is learned at all."""
_GROWTH = 1.1
_EVERY_S = 15.0
_MOST_WAITING = 10_000
_MOST_READ = 5_000
_ANSWERS_OF_A_PAIR = 2
_EVER = datetime.min.replace(tzinfo=UTC)
_COMMON = ""
"""Whose memory the common one is."""
_MOST_GUARDS = 8
"""Baselines, with their ε, that one organisation's memory is calibrated for."""
_UNJUDGED = timedelta(days=7)
_SIGNALS_LATE = timedelta(minutes=12)
"""How long after its answer a signal may be written: users ask again within ten minutes."""
_EMBEDDING_BYTES = 4 * DIMENSIONS


@dataclass(slots=True)
class _Memory:
    judged: OrderedDict[str, Judged] = field(default_factory=OrderedDict)
    signalled: OrderedDict[str, Example] = field(default_factory=OrderedDict)
    """Nobody judged these."""
    pairs: OrderedDict[str, Pair] = field(default_factory=OrderedDict)
    """By id of the answer that nobody got."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """By model: of the signalled that count, when it was learned from last."""
    learned_at: float = 0.0
    """Outcomes that there were when it was learned from last, with all that came since."""
    grown: float = 0.0
    by_form: Lesson | None = None
    by_meaning: Lesson | None = None
    wanted: OrderedDict[Aim, None] = field(default_factory=OrderedDict)
    trying: OrderedDict[Aim, None] = field(default_factory=OrderedDict)
    """Baselines beside which policies let models be tried."""
    compared: dict[Aim, Compared] = field(default_factory=dict)
    """What routing was worth, by the newest lesson."""

    @property
    def size(self) -> int:
        """Answers in it."""
        return len(self.judged) + len(self.signalled) + len(self.pairs)


class Experience:
    """The memories of all organisations, bounded together."""

    def __init__(self, store: ExampleStore, costs: Costs, clock: Clock, log: FilteringBoundLogger, most: int) -> None:
        """`most`: outcomes in memory, of all organisations; each takes about 2.5 kB. The oldest leave."""
        self._store = store
        self._costs = costs
        self._clock = clock
        self._log = log
        self._most = most
        self._memories: OrderedDict[str, _Memory] = OrderedDict()
        self._waiting: list[Example] = []
        self._compared: list[Pair] = []
        self._repeated: list[tuple[str, str]] = []
        self._sharing: set[str] = set()
        """Organisations with outcomes in the common memory."""
        self._withdrawn: set[str] = set()
        self._since: datetime | None = None
        self._erased: Mapping[str, datetime] | None = None

    def answered(self, example: Example) -> None:
        """Keeps an answered question, soon; more than fit are dropped."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(example)

    def paired(self, pair: Pair) -> None:
        """Keeps compared answers, soon; more than fit are dropped."""
        if len(self._compared) < _MOST_WAITING:
            self._compared.append(pair)

    def repeated(self, organization_id: str, request_id: str) -> None:
        """The user who was answered then asked the same once more."""
        if len(self._repeated) < _MOST_WAITING:
            self._repeated.append((organization_id, request_id))

    def shares(self, organization_id: str, *, shares: bool) -> None:
        """What an organisation's policy says now; what was shared is withdrawn, soon, where it shares no longer."""
        if not shares and organization_id in self._sharing:
            self._withdrawn.add(organization_id)

    def lesson(self, organization_id: str, embedding: bytes, *, common: bool = False) -> Lesson | None:
        """What decides on a question with that embedding (empty: none); None: too little is known yet.

        `common`: where the organisation's own outcomes are too few, those of all that share decide.
        """
        own = self._lesson_of(organization_id, embedding)
        return self._lesson_of(_COMMON, embedding) if own is None and common else own

    def _lesson_of(self, organization_id: str, embedding: bytes) -> Lesson | None:
        memory = self._memories.get(organization_id)
        if memory is None:
            return None
        return memory.by_meaning if memory.by_meaning and len(embedding) == _EMBEDDING_BYTES else memory.by_form

    def guard(self, lesson: Lesson, aim: Aim) -> Guard | None:
        """The guard of that aim; None: it is not calibrated yet, and will be."""
        guard = lesson.guards.get(aim)
        if guard is None and aim.baseline in lesson.taught.learned.models:
            memory = self._memories[lesson.of]
            memory.wanted[aim] = None
            while len(memory.wanted) > _MOST_GUARDS:
                memory.wanted.popitem(last=False)
        return guard

    def trials(self, organization_id: str, embedding: bytes, aim: Aim) -> tuple[Lesson, Trials] | None:
        """How trials beside a baseline stand, by the lesson that places the question; None: not yet."""
        memory, lesson = self._memories.get(organization_id), self._lesson_of(organization_id, embedding)
        if memory is None or lesson is None:
            return None
        memory.trying[aim] = None
        while len(memory.trying) > _MOST_GUARDS:
            memory.trying.popitem(last=False)
        trials = lesson.trials.get(aim)
        return (lesson, trials) if trials is not None else None

    def harm(self, organization_id: str, aim: Aim) -> Control | None:
        """What routing lost where it surely lost more than may be lost; None: as far as can be told, it did not."""
        memory = self._memories.get(organization_id)
        compared = memory.compared.get(aim) if memory is not None else None
        return compared.harm if compared is not None else None

    async def compared(self, organization_id: str, aim: Aim) -> Compared:
        """What routing was worth beside that baseline."""
        memory = self._memories.get(organization_id)
        if memory is None or memory.by_form is None:
            return Compared()
        if aim not in memory.compared:
            return await asyncio.to_thread(compared_by, memory.by_form, aim, self._costs, self._clock.now() - MONTH)
        return memory.compared[aim]

    def forget(self, organization_id: str) -> None:
        """Forgets an organisation at once; `catch_up` learns it anew from what the store still has."""
        self._memories.pop(organization_id, None)
        if organization_id in self._sharing:
            self._sharing.discard(organization_id)
            common = self._memories.pop(_COMMON, _Memory())
            for judged in common.judged.values():
                if judged.example.organization_id != organization_id:
                    self._share(judged)

    async def run(self) -> None:
        """Writes, reads and learns, again and again, until it is cancelled."""
        while True:
            try:
                await self.catch_up()
            except AsahiError as error:  # the store: what waits is kept, and tried again
                self._log.warning("experience", error=str(error))
            await asyncio.sleep(_EVERY_S)

    async def catch_up(self) -> None:
        """Writes what waits, reads what was judged since, and learns from what has grown."""
        await self._write()
        await self._read()
        for organization_id, memory in list(self._memories.items()):
            if memory.grown >= _FEWEST and memory.grown >= _GROWTH * memory.learned_at:
                answers = await self._store.answers(organization_id, self._clock.now() - _UNJUDGED)
                memory.shares = shares(answers)
                await asyncio.to_thread(self._learn, organization_id, memory)
            await asyncio.to_thread(self._calibrate, organization_id, memory)
            await asyncio.to_thread(self._try_out, memory)

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        pairs, self._compared = self._compared, []
        repeated, self._repeated = self._repeated, []
        try:
            if waiting:
                await self._store.keep(waiting)
                waiting = []
            if pairs:
                await self._store.keep_pairs(pairs)
                pairs = []
            while self._withdrawn:
                organization_id = next(iter(self._withdrawn))
                await self._store.withdraw(organization_id, self._clock.now())
                self._withdrawn.discard(organization_id)
            while repeated:
                await self._store.signal(*repeated[-1], REPEATED)
                repeated.pop()
            await self._store.forget_unjudged(self._clock.now() - _UNJUDGED)
        except AsahiError:
            self._waiting = (waiting + self._waiting)[:_MOST_WAITING]
            self._compared = (pairs + self._compared)[:_MOST_WAITING]
            self._repeated = (repeated + self._repeated)[:_MOST_WAITING]
            raise

    async def _read(self) -> None:
        erased, known = await self._store.erasures(), self._erased
        if known is not None:
            for organization_id in [name for name, at in erased.items() if known.get(name) != at]:
                self.forget(organization_id)
                await self._read_since(_EVER, organization_id)
        self._erased = erased
        await self._read_since(self._since or _EVER)
        # Others' clocks, and what was under way while this read: some is read twice, and counts once.
        self._since = self._clock.now() - timedelta(minutes=1)

    async def _read_since(self, since: datetime, organization_id: str = "") -> None:
        await self._read_signals(max(since, self._clock.now() - _UNJUDGED) - _SIGNALS_LATE, organization_id)
        await self._read_pairs(since - _SIGNALS_LATE if since > _EVER else since, organization_id)
        while True:
            judged = await self._store.judged(since, _MOST_READ, organization_id)
            for one in judged:
                self._remember(one)
            if len(judged) < _MOST_READ or judged[-1].judged_at == since:
                break
            since = judged[-1].judged_at

    async def _read_signals(self, since: datetime, organization_id: str) -> None:
        while True:
            signalled = await self._store.signalled(since, _MOST_READ, organization_id)
            for one in signalled:
                self._note(one)
            if len(signalled) < _MOST_READ or signalled[-1].answered_at == since:
                break
            since = signalled[-1].answered_at

    async def _read_pairs(self, since: datetime, organization_id: str) -> None:
        while True:
            pairs = await self._store.pairs(since, _MOST_READ, organization_id)
            for pair in pairs:
                memory = self._memories.setdefault(pair.example.organization_id, _Memory())
                memory.grown += _ANSWERS_OF_A_PAIR * (pair.example.request_id not in memory.pairs)
                memory.pairs[pair.example.request_id] = pair
                self._make_room()
            if len(pairs) < _MOST_READ or pairs[-1].example.answered_at == since:
                break
            since = pairs[-1].example.answered_at

    def _remember(self, judged: Judged) -> None:
        example = judged.example
        memory = self._memories.setdefault(example.organization_id, _Memory())
        known = memory.judged.get(example.request_id)
        if known is None or known.score != judged.score:
            memory.grown += 1
        memory.judged[example.request_id] = judged
        memory.signalled.pop(example.request_id, None)
        self._memories.move_to_end(example.organization_id)
        if example.shared:
            self._share(judged)
        self._make_room()

    def _share(self, judged: Judged) -> None:
        example = judged.example
        common = self._memories.setdefault(_COMMON, _Memory())
        name = f"{example.organization_id} {example.request_id}"
        common.grown += name not in common.judged or common.judged[name].score != judged.score
        common.judged[name] = judged
        self._sharing.add(example.organization_id)

    def _note(self, example: Example) -> None:
        """An answer with a signal; what somebody says of it counts instead."""
        memory = self._memories.setdefault(example.organization_id, _Memory())
        if example.request_id in memory.judged or example.signal not in SCORES:
            return
        if example.request_id not in memory.signalled:
            memory.grown += memory.shares.get(example.model, 0.0)
        memory.signalled[example.request_id] = example
        self._make_room()

    def _make_room(self) -> None:
        """What nobody judged leaves first."""
        while sum(one.size for one in self._memories.values()) > self._most:
            largest = max(self._memories.values(), key=lambda one: one.size)
            more_judged = len(largest.judged) > len(largest.pairs)
            (largest.signalled or (largest.judged if more_judged else largest.pairs)).popitem(last=False)

    def _learn(self, organization_id: str, memory: _Memory) -> None:
        judged = [*memory.judged.values(), *self._failures(memory)]
        grown = memory.grown
        pairs = list(memory.pairs.values())
        embedded = [one for one in judged if len(one.example.embedding) == _EMBEDDING_BYTES]
        with_meaning = [pair for pair in pairs if len(pair.example.embedding) == _EMBEDDING_BYTES]
        enough = len(embedded) + _ANSWERS_OF_A_PAIR * len(with_meaning) >= _FEWEST
        memory.by_meaning = lesson_of(organization_id, embedded, with_meaning, embeds=True) if enough else None
        memory.by_form = lesson_of(organization_id, judged, pairs, embeds=False)
        memory.compared = {}
        memory.learned_at = grown

    def _try_out(self, memory: _Memory) -> None:
        for lesson in (memory.by_form, memory.by_meaning):
            if lesson is None or not memory.trying:
                continue
            if lesson.tried_at != memory.grown or lesson.trials.keys() != memory.trying.keys():
                grown = memory.grown
                try_out(lesson, [*memory.judged.values(), *self._failures(memory)], memory.trying, self._clock.now())
                lesson.tried_at = grown

    def _failures(self, memory: _Memory) -> list[Judged]:
        """Those of the signalled that count, scored as their kind deserves."""
        said: dict[str, list[float]] = defaultdict(list)
        for one in memory.judged.values():
            said[one.example.signal].append(one.score)
        newest = self._clock.now() - _UNJUDGED
        return [
            Judged(example, score_of(example.signal, said[example.signal]), example.answered_at)
            for example in memory.signalled.values()
            if example.answered_at >= newest and counts(example.request_id, memory.shares.get(example.model, 0.0))
        ]

    def _calibrate(self, organization_id: str, memory: _Memory) -> None:
        if memory.by_form is not None and organization_id != _COMMON:
            for aim in [aim for aim in list(memory.wanted) if aim not in memory.compared]:
                memory.compared[aim] = compared_by(memory.by_form, aim, self._costs, self._clock.now() - MONTH)
        for lesson in (memory.by_form, memory.by_meaning):
            if lesson is None:
                continue
            for aim in list(memory.wanted):
                models = lesson.taught.learned.models
                if aim in lesson.guards or aim.baseline not in models:
                    continue
                costs = self._costs.expected(organization_id, models, lesson.asked_bytes, lesson.taught.told)
                place = models.index(aim.baseline)
                if np.isnan(costs[:, place]).any():
                    continue
                unknown = np.isnan(costs)
                costs[unknown] = np.broadcast_to(2 * costs[:, [place]], costs.shape)[unknown]  # never a way to save
                lesson.guards[aim] = guard_of(lesson.taught, costs, aim.baseline, aim.epsilon)
