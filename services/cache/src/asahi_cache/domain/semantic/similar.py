"""Tier 2: the answers to similar questions. Look-ups, what is kept for them, and the audits that the bound rests on.

Read `SimilarAnswers.look_up` from the top. Nothing here raises on account of the model's, the store's or the
database's troubles: tier 2 then has no answer, and says why.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_cache.domain.embedding import Embedder
from asahi_cache.domain.labels import labels_of
from asahi_cache.domain.semantic.decision import SERVING, Decision, Ledger, State, Verdict, corrected, stratum_of
from asahi_cache.domain.semantic.equivalence import EquivalenceJudge, say_the_same, text_of
from asahi_cache.domain.semantic.evidence_log import Evidence, Kind, Outcome, ServedHit
from asahi_cache.domain.semantic.neighbours import Neighbour, PatientStore, StoredQuestion, StoreUnavailable
from asahi_cache.domain.semantic.verifier import Judgement, Verifier, question_of
from asahi_cache.domain.tiers import Found, Query, Selection
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")
_NEIGHBOURS = 4
_MOST_WAITING = 1000
"""Questions to be kept and audits to be judged that may wait; more are dropped and counted."""
_MOST_PENDING = 5000
_FOREVER_NS = 1 << 62
_BY_OTHERS = "The audits are those of all organizations that share evidence."


class NoAnswer(StrEnum):
    """Why tier 2 found nothing that it could decide upon."""

    NO_NEIGHBOUR = "no_neighbour"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """What a lookup asks of tier 2."""

    organization_id: str
    fingerprint: bytes
    scope: bytes
    text: str
    request_id: str
    false_hit_bound: float
    """δ; 0: tier 2 is not to answer."""
    embedding_wanted: bool
    max_age_s: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The stored question whose answer would serve best, with its answer."""

    question: StoredQuestion
    judgement: Judgement
    found: Found


@dataclass(frozen=True, slots=True)
class Finding:
    """What tier 2 found."""

    no_answer: NoAnswer | None = None
    """None: `decision` says it all, or tier 2 was not asked."""
    detail: str = ""
    decision: Decision | None = None
    candidate: Candidate | None = None
    age_s: float = 0.0
    embedding: bytes = b""

    @property
    def served(self) -> Found | None:
        """The answer, if it is served."""
        if self.decision is None or self.candidate is None or self.decision.verdict is not Verdict.SERVE:
            return None
        return self.candidate.found


@dataclass(slots=True)
class SimilarFigures:
    """What tier 2 counts in this process."""

    outcomes: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    judged: int = 0
    judged_wrong: int = 0
    dropped: int = 0
    """Questions not kept and audits not judged for lack of room or of a store."""

    def count(self, outcome: str) -> None:
        """One more look-up ended so."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


@dataclass(frozen=True, slots=True)
class _Audit:
    """A candidate that could have been served, and was not."""

    asked: AskedQuestion
    stratum: int
    stored: bytes
    propensity: float
    answer: bytes


@dataclass(frozen=True, slots=True)
class _New:
    """An answer that has come, to be learnt from."""

    question: StoredQuestion
    entry: CacheEntry
    vector: "NDArray[np.float32] | None"
    audit: _Audit | None


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """A stored question whose answer is kept no longer."""

    organization_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class _Dropped:
    """What was dropped while other things waited: of those that came before it none is kept."""

    selection: Selection
    taken: int
    """How many had come by then."""


class SimilarAnswers:
    """Finds answers to similar questions, within one organisation and one scope."""

    def __init__(
        self,
        *,
        store: PatientStore,
        embedder: Embedder,
        answers: Callable[[Query], Awaitable[Found | None]],
        evidence: Evidence,
        verifier: Verifier,
        judge: EquivalenceJudge,
        clock: Clock,
        embed_s: float,
        trouble: Callable[[], str],
    ) -> None:
        """`embed_s`: longest wait for an embedding that a lookup needs. `trouble`: why `store` is not asked."""
        self._store = store
        self._embedder = embedder
        self._answers = answers
        self._evidence = evidence
        self._verifier = verifier
        self._judge = judge
        self._clock = clock
        self._embed_s = embed_s
        self._trouble = trouble
        self._vectors: OrderedDict[tuple[str, bytes], NDArray[np.float32]] = OrderedDict()
        self._audits: OrderedDict[tuple[str, bytes], _Audit] = OrderedDict()
        self._new: asyncio.Queue[_New | _Unanswered] = asyncio.Queue(_MOST_WAITING)
        self._taken = self._done = 0
        """How many have come to that queue, and how many of them are settled."""
        self._dropped: deque[_Dropped] = deque()
        self._keeping = asyncio.Lock()
        """Held while the store is written to, so that what is dropped is not kept at the same time."""
        self.figures = SimilarFigures()

    @property
    def trouble(self) -> str:
        """Why the store is not asked; empty: it is."""
        return self._trouble()

    @property
    def bounds_exceeded(self) -> int:
        """Organisations' ledgers here whose served answers came to be worse than their bound."""
        return self._evidence.exceeded

    async def look_up(self, asked: AskedQuestion) -> Finding:
        """The answer to a similar question, or why there is none; with the question's embedding where it is needed."""
        try:
            finding = await self._look_up(asked)
        except StoreUnavailable as error:
            finding = Finding(NoAnswer.UNAVAILABLE, f"Tier 2 was left aside: {error}.")
        except TimeoutError:
            finding = Finding(NoAnswer.UNAVAILABLE, "Tier 2 was left aside: the embedding took too long.")
        except AsahiError as error:
            finding = Finding(NoAnswer.UNAVAILABLE, f"Tier 2 was left aside: {error.message}")
        self.figures.count(_outcome(finding))
        return finding

    def learn(self, asked: AskedQuestion, entry: CacheEntry, ttl_s: float) -> None:
        """Takes an answer that a provider gave, soon: to find it by its question, and to judge an audit."""
        key = (asked.organization_id, asked.fingerprint)
        vector, audit = self._vectors.pop(key, None), self._audits.pop(key, None)
        created_at_ns = entry.created_at.ToNanoseconds()
        question = StoredQuestion(
            organization_id=asked.organization_id,
            scope=asked.scope,
            fingerprint=asked.fingerprint,
            text=asked.text,
            created_at_ns=created_at_ns,
            expires_at_ns=self._now_ns() + int(ttl_s * 1e9),
            labels=labels_of(entry),
        )
        if not self._take(_New(question, entry, vector, audit)):
            self.figures.dropped += 1

    async def run(self) -> None:
        """Keeps and judges what has come, one after the other, until cancelled."""
        while True:
            new = await self._new.get()
            try:
                if isinstance(new, _Unanswered):
                    async with self._keeping:
                        await self._store.forget(new.organization_id, new.fingerprint)
                else:
                    await self._keep(new)
                    if new.audit is not None:
                        await self._judge_audit(new.audit, new.entry)
            except (StoreUnavailable, AsahiError):
                self.figures.dropped += 1
            finally:
                self._done += 1
                while self._dropped and self._dropped[0].taken <= self._done:
                    self._dropped.popleft()
                self._new.task_done()

    async def settled(self) -> None:
        """Returns when all that has come is kept and judged."""
        await self._new.join()

    async def expire(self) -> None:
        """Drops what has expired. Raises StoreUnavailable."""
        await self._store.expire(self._now_ns())

    async def drop(self, selection: Selection) -> None:
        """Drops questions, also those that are still to be kept; their answers are the other tiers'.

        Raises:
            StoreUnavailable: they may still be there.
        """
        for key in [key for key in self._audits if key[0] == selection.organization_id]:
            del self._audits[key]
        if self._done < self._taken:
            self._dropped.append(_Dropped(selection, self._taken))
        async with self._keeping:
            await self._store.drop(selection)

    async def drop_all(self) -> None:
        """Drops the stored questions of all organisations. Raises StoreUnavailable."""
        async with self._keeping:
            await self._store.expire(_FOREVER_NS)

    async def _look_up(self, asked: AskedQuestion) -> Finding:
        now_ns, began = self._now_ns(), self._clock.monotonic()
        wanted = bool(asked.false_hit_bound) and await self._store.holds(asked.organization_id, asked.scope, now_ns)
        waited_s = self._clock.monotonic() - began
        if not wanted and not asked.embedding_wanted:
            return Finding(NoAnswer.NO_NEIGHBOUR)
        question = question_of(asked.text)
        async with asyncio.timeout(self._embed_s):
            vector = (await self._embedder.embed([question.text]))[0]
        embedding = vector.astype("<f4").tobytes()
        if asked.false_hit_bound:
            _remember(self._vectors, (asked.organization_id, asked.fingerprint), vector)
        if not wanted:
            return Finding(NoAnswer.NO_NEIGHBOUR if asked.false_hit_bound else None, embedding=embedding)
        ledger = await self._evidence.ledger(asked.organization_id, asked.false_hit_bound)
        shared = await self._evidence.shared(asked.organization_id, asked.false_hit_bound)
        near = await self._store.nearest(
            asked.organization_id, asked.scope, vector, now_ns, _NEIGHBOURS, waited_s=waited_s
        )
        judged = [(one, self._verifier.judge(question, question_of(one.question.text), one.cosine)) for one in near]
        candidate = await self._best(asked, judged)
        if candidate is None:
            return Finding(NoAnswer.NO_NEIGHBOUR, embedding=embedding)
        decision = self._decide(asked, ledger, shared, candidate)
        age_s = max(0.0, (now_ns - candidate.question.created_at_ns) / 1e9)
        detail = _BY_OTHERS if decision.state is State.SHARED else ""
        return Finding(decision=decision, candidate=candidate, age_s=age_s, embedding=embedding, detail=detail)

    async def _best(self, asked: AskedQuestion, judged: Sequence[tuple[Neighbour, Judgement]]) -> Candidate | None:
        """The likeliest of those whose answer is still kept and young enough."""
        oldest_ns = 0 if asked.max_age_s is None else self._now_ns() - int(asked.max_age_s * 1e9)
        for near, judgement in sorted(judged, key=lambda pair: self._rank(asked, *pair)):
            if near.question.created_at_ns < oldest_ns:
                continue
            found = await self._answers(Query(asked.organization_id, near.question.fingerprint))
            if found is not None:
                return Candidate(near.question, judgement, found)
            self._take(_Unanswered(asked.organization_id, near.question.fingerprint))
        return None

    def _take(self, new: _New | _Unanswered) -> bool:
        """Queues it; False: too much waits already."""
        try:
            self._new.put_nowait(new)
        except asyncio.QueueFull:
            return False
        self._taken += 1
        return True

    def _rank(self, asked: AskedQuestion, near: Neighbour, judgement: Judgement) -> tuple[int, float]:
        record = self._evidence.record(asked.organization_id, asked.false_hit_bound, near.question.fingerprint)
        probability = corrected(judgement.probability, record)
        stratum = stratum_of(judgement, probability)
        return (stratum if stratum >= 0 else _NEIGHBOURS + 10, -probability)

    def _decide(self, asked: AskedQuestion, ledger: Ledger, shared: Ledger | None, candidate: Candidate) -> Decision:
        stored = candidate.question.fingerprint
        record = self._evidence.record(asked.organization_id, asked.false_hit_bound, stored)
        decision = ledger.decide(candidate.judgement, record, shared)
        if decision.verdict is Verdict.AUDIT:
            audit = _Audit(asked, decision.stratum, stored, decision.audit_probability, candidate.found.entry)
            _remember(self._audits, (asked.organization_id, asked.fingerprint), audit)
        elif decision.verdict is Verdict.SERVE:
            hit = ServedHit(
                asked.organization_id, asked.request_id, decision.stratum, stored, asked.false_hit_bound, self._now_ns()
            )
            self._evidence.note_served(hit)
        return decision

    async def _keep(self, new: _New) -> None:
        vector = new.vector
        if vector is None:
            vector = (await self._embedder.embed([question_of(new.question.text).text]))[0]
        async with self._keeping:
            if any(self._covers(dropped, new.question) for dropped in self._dropped):
                return
            await self._store.keep(new.question, vector)
        self.figures.kept += 1

    @staticmethod
    def _covers(dropped: _Dropped, question: StoredQuestion) -> bool:
        selection = dropped.selection
        return selection.organization_id == question.organization_id and selection.covers(
            question.labels, question.created_at_ns
        )

    async def _judge_audit(self, audit: _Audit, entry: CacheEntry) -> None:
        stored, fresh = (text_of(answer) for answer in (CacheEntry.FromString(audit.answer).answer, entry.answer))
        wrong = not await say_the_same(self._judge, self._embedder, stored, fresh)
        self.figures.judged += 1
        self.figures.judged_wrong += wrong
        asked = audit.asked
        outcome = Outcome(
            asked.request_id, Kind.AUDIT, audit.stratum, audit.stored, wrong, audit.propensity, self._now_ns()
        )
        await self._evidence.add(asked.organization_id, asked.false_hit_bound, outcome)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)


def _outcome(finding: Finding) -> str:
    if finding.decision is None:
        return finding.no_answer.value if finding.no_answer is not None else "embedded"
    return outcome_of(finding.decision)


def outcome_of(decision: Decision) -> str:
    """What came of a candidate: `served`, `improbable`, `audited`, or why it is not served yet."""
    if decision.verdict is Verdict.SERVE:
        return "served"
    if decision.verdict is Verdict.IMPROBABLE:
        return "improbable"
    if decision.state in SERVING:
        return "audited"
    return decision.state.value


def _remember(kept: OrderedDict[tuple[str, bytes], _T], key: tuple[str, bytes], value: _T) -> None:
    kept[key] = value
    while len(kept) > _MOST_PENDING:
        kept.popitem(last=False)
