"""The evidence of organisations, shared by all replicas and durable: who keeps it, and the ledgers of this process.

The database has the truth: each ledger's state as of a numbered audit. Audits are folded into it there, in their
order, one process at a time; what this process decides by is a copy, read anew every `FRESH_S` while it is used.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from asahi_cache.domain.rules import SEVERAL
from asahi_cache.domain.semantic.decision import Ledger, Record
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError

FRESH_S = 5.0
_MOST_LEDGERS = 2000
_MOST_RECORDS = 5000
_AUDITS_KEPT_S = 180 * 24 * 3600.0
_HITS_KEPT_S = 30 * 24 * 3600.0


class Kind(StrEnum):
    """How it was learnt whether a stored answer served."""

    AUDIT = "audit"
    """The provider was asked too, and the judge compared."""
    WRONG = "wrong"
    """A caller said that it was wrong."""
    RIGHT = "right"
    """A caller said that it was right; noted, and no evidence: callers do not choose at random."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a stored answer served a question."""

    request_id: str
    kind: Kind
    stratum: int
    stored: bytes
    """Fingerprint of the stored question."""
    wrong: bool
    propensity: float
    """The probability with which it was audited; of a caller's word 0."""
    at_ns: int


@dataclass(frozen=True, slots=True)
class ServedHit:
    """An answer that tier 2 served."""

    organization_id: str
    request_id: str
    stratum: int
    stored: bytes
    false_hit_bound: float
    at_ns: int


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """A ledger: evidence counts only for the rule that it was gathered with."""

    organization_id: str
    rule: str
    """Names verifier, judge and embedding model."""
    false_hit_bound: float


Fold = Callable[[str, Sequence[Outcome]], str]
"""A ledger's state (empty: none yet) after outcomes."""


class EvidenceStore(Protocol):
    """Keeps evidence durably. Raises ServiceUnavailable."""

    async def advance(self, key: LedgerKey, new: Sequence[Outcome], fold: Fold) -> tuple[str, Sequence[Outcome]]:
        """Appends what is new of `new`, folds all outcomes that the ledger has not seen; its state, and those."""
        ...

    async def records(self, organization_id: str, rule: str, most: int) -> Mapping[bytes, tuple[int, int]]:
        """To stored questions, how often they were right and wrong; those spoken of last."""
        ...

    async def add_hits(self, hits: Sequence[ServedHit]) -> None:
        """Notes what was served."""
        ...

    async def hit(self, organization_id: str, request_id: str) -> ServedHit | None:
        """What was served to a request; None: nothing that is still known."""
        ...

    async def erase(self, organization_id: str) -> int:
        """Forgets everything of the organisation; how many outcomes there were."""
        ...

    async def expire(self, outcomes_before_ns: int, hits_before_ns: int) -> None:
        """Forgets what is older."""
        ...


@dataclass(slots=True)
class _Held:
    ledger: Ledger
    records: OrderedDict[bytes, Record]
    read_at: float
    refreshing: "asyncio.Task[None] | None" = None


class Evidence:
    """The ledgers of this process."""

    def __init__(
        self,
        store: EvidenceStore,
        rule: str,
        judge_misses: float,
        random: Callable[[], float],
        clock: Clock,
        *,
        shared_by: AbstractSet[str] = frozenset(),
    ) -> None:
        """`random` yields numbers in [0, 1). `shared_by`: organisations whose audits count for each other, too."""
        self._store = store
        self._rule = rule
        self.judge_misses = judge_misses
        """Share of wrong answers that the judge takes for right."""
        self.reachable = True
        """Whether the database answered when it was last asked."""
        self._random = random
        self._clock = clock
        self._shared_by = shared_by
        self._held: OrderedDict[LedgerKey, _Held] = OrderedDict()
        self._loading: dict[LedgerKey, asyncio.Task[_Held]] = {}
        self._hits: list[ServedHit] = []

    async def ledger(self, organization_id: str, false_hit_bound: float) -> Ledger:
        """The organisation's ledger under this bound.

        Raises:
            ServiceUnavailable: it is not here yet and cannot be read.
        """
        return (await self._hold(LedgerKey(organization_id, self._rule, false_hit_bound))).ledger

    @property
    def exceeded(self) -> int:
        """Ledgers that are here and have something in them that served and came to be worse than its bound."""
        return sum(held.ledger.exceeded for held in self._held.values())

    async def shared(self, organization_id: str, false_hit_bound: float) -> Ledger | None:
        """The ledger of all who share evidence; None: the organisation does not.

        Raises:
            ServiceUnavailable: it is not here yet and cannot be read.
        """
        return await self.ledger(SEVERAL, false_hit_bound) if organization_id in self._shared_by else None

    def record(self, organization_id: str, false_hit_bound: float, stored: bytes) -> Record:
        """What audits said of a stored question, as far as its ledger is here."""
        held = self._held.get(LedgerKey(organization_id, self._rule, false_hit_bound))
        return held.records.get(stored, Record()) if held is not None else Record()

    async def add(self, organization_id: str, false_hit_bound: float, outcome: Outcome) -> bool:
        """Takes an outcome; whether it was new.

        Raises:
            ServiceUnavailable: it cannot be kept; it does not count then.
        """
        key = LedgerKey(organization_id, self._rule, false_hit_bound)
        held = await self._hold(key)
        new = outcome in await self._advance(key, held, [outcome])
        if new and organization_id in self._shared_by:
            everybodys = replace(key, organization_id=SEVERAL)
            await self._advance(everybodys, await self._hold(everybodys), [_nameless(organization_id, outcome)])
        return new

    def note_served(self, hit: ServedHit) -> None:
        """Remembers what was served, and writes it with the next `flush`."""
        self._hits.append(hit)

    async def report(self, organization_id: str, request_id: str, *, correct: bool) -> bool:
        """Takes a caller's word on a hit; whether it counts: the hit is known, and it is the first word on it.

        Raises:
            ServiceUnavailable: it cannot be kept.
        """
        await self.flush()
        hit = await self._store.hit(organization_id, request_id)
        if hit is None:
            return False
        kind = Kind.RIGHT if correct else Kind.WRONG
        outcome = Outcome(request_id, kind, hit.stratum, hit.stored, not correct, 0.0, self._now_ns())
        return await self.add(organization_id, hit.false_hit_bound, outcome)

    async def erase(self, organization_id: str) -> int:
        """Forgets everything of the organisation; how many outcomes there were."""
        self._hits = [hit for hit in self._hits if hit.organization_id != organization_id]
        erased = await self._store.erase(organization_id)
        for key in [key for key in self._held if key.organization_id == organization_id]:
            del self._held[key]
        return erased

    async def flush(self) -> None:
        """Writes what was served since.

        Raises:
            ServiceUnavailable: it cannot be written; it is tried again with the next.
        """
        hits, self._hits = self._hits, []
        if not hits:
            return
        try:
            await self._store.add_hits(hits)
        except AsahiError:
            self._hits = hits[-_MOST_RECORDS:] + self._hits
            raise

    async def expire(self) -> None:
        """Forgets what is old."""
        now_ns = self._now_ns()
        await self._store.expire(now_ns - int(_AUDITS_KEPT_S * 1e9), now_ns - int(_HITS_KEPT_S * 1e9))

    async def _hold(self, key: LedgerKey) -> _Held:
        held = self._held.get(key)
        if held is None:
            loading = self._loading.get(key)
            if loading is None:
                loading = self._loading[key] = asyncio.create_task(self._load(key))
                loading.add_done_callback(lambda _: self._loading.pop(key, None))
            return await asyncio.shield(loading)
        self._held.move_to_end(key)
        if self._clock.monotonic() - held.read_at > FRESH_S and (held.refreshing is None or held.refreshing.done()):
            held.refreshing = asyncio.create_task(self._refresh(key, held))
        return held

    async def _load(self, key: LedgerKey) -> _Held:
        held = _Held(self._new(key.false_hit_bound), OrderedDict(), self._clock.monotonic())
        await self._advance(key, held, [])
        for stored, (right, wrong) in (
            await self._store.records(key.organization_id, self._rule, _MOST_RECORDS)
        ).items():
            held.records[stored] = Record(right, wrong)
        self._held[key] = held
        while len(self._held) > _MOST_LEDGERS:
            self._held.popitem(last=False)
        return held

    async def _refresh(self, key: LedgerKey, held: _Held) -> None:
        held.read_at = self._clock.monotonic()
        try:
            await self._advance(key, held, [])
        except AsahiError:
            return  # `reachable` says so; until the database is back it is decided by what is known here

    async def _advance(self, key: LedgerKey, held: _Held, new: Sequence[Outcome]) -> Sequence[Outcome]:
        """Brings the ledger to the database's state and `new`; the outcomes that it had not seen."""
        served = held.ledger.take_unsaved()
        misses = self.judge_misses

        def fold(state: str, outcomes: Sequence[Outcome]) -> str:
            folded = Ledger(key.false_hit_bound, lambda: 0.0, judge_misses=misses)
            if state:
                folded.restore(json.loads(state))
            folded.add_served(served)
            for one in outcomes:
                _count(folded, one)
            return json.dumps(folded.state())

        try:
            state, seen = await self._store.advance(key, new, fold)
        except AsahiError:
            held.ledger.return_unsaved(served)
            self.reachable = False
            raise
        self.reachable = True
        held.ledger.restore(json.loads(state))
        held.read_at = self._clock.monotonic()
        for one in seen:
            record = held.records.pop(one.stored, Record())
            if one.kind is not Kind.RIGHT:
                record.right += not one.wrong
                record.wrong += one.wrong
            held.records[one.stored] = record
        while len(held.records) > _MOST_RECORDS:
            held.records.popitem(last=False)
        return seen

    def _new(self, false_hit_bound: float) -> Ledger:
        return Ledger(false_hit_bound, self._random, judge_misses=self.judge_misses)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)


def _nameless(organization_id: str, outcome: Outcome) -> Outcome:
    """The outcome without its request and question: what others may count, and nothing to know anybody by."""
    name = hashlib.sha256(f"{organization_id}\0{outcome.request_id}".encode()).hexdigest()
    return replace(outcome, request_id=name, stored=b"")


def _count(ledger: Ledger, outcome: Outcome) -> None:
    if outcome.kind is Kind.AUDIT:
        ledger.add_audit(outcome.stratum, Record(), wrong=outcome.wrong)
    elif outcome.kind is Kind.WRONG:
        ledger.report_wrong(outcome.stratum, Record())
