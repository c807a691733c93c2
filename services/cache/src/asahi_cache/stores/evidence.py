"""Evidence about tier 2 in an SQL database, shared by all replicas."""

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection, RowMapping, and_, case, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from asahi_cache.domain.semantic.evidence_log import Fold, Kind, LedgerKey, Outcome, ServedHit
from asahi_cache.stores.database import CacheDatabase
from asahi_cache.stores.tables import SEMANTIC_HITS, SEMANTIC_LEDGERS, SEMANTIC_OUTCOMES
from asahi_core.sql.upserts import insert_of

_TRIES = 5
_MOST_FOLDED = 50_000
"""Of the newest outcomes, how many a new ledger begins with."""
_O, _L, _H = SEMANTIC_OUTCOMES.c, SEMANTIC_LEDGERS.c, SEMANTIC_HITS.c


class SqlEvidenceStore:
    """An `EvidenceStore`."""

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database

    async def advance(self, key: LedgerKey, new: Sequence[Outcome], fold: Fold) -> tuple[str, Sequence[Outcome]]:
        """Appends what is new of `new`, folds all outcomes that the ledger has not seen; its state, and those."""
        work = partial(self._advance, key, new, fold)
        for _ in range(_TRIES):
            try:
                return await self._database.run(work)
            except IntegrityError:  # another replica took the number, or began the ledger
                continue
        return await self._database.run(work)

    async def records(self, organization_id: str, rule: str, most: int) -> Mapping[bytes, tuple[int, int]]:
        """To stored questions, how often they were right and wrong; those spoken of last."""
        wrong = func.sum(case((_O.wrong, 1), else_=0))
        theirs = and_(_O.organization_id == organization_id, _O.rule == rule, _O.kind != Kind.RIGHT.value)
        spoken_of = func.max(_O.number)
        wanted = (
            select(_O.stored, func.count().label("all"), wrong.label("wrong"))
            .where(theirs)
            .group_by(_O.stored)
            .order_by(spoken_of.desc())
            .limit(most)
        )
        rows = await self._database.run(lambda connection: connection.execute(wanted).mappings().all())
        return {bytes(row["stored"]): (row["all"] - row["wrong"], row["wrong"]) for row in reversed(rows)}

    async def add_hits(self, hits: Sequence[ServedHit]) -> None:
        """Notes what was served."""
        add = insert_of(self._database, SEMANTIC_HITS).on_conflict_do_nothing(
            index_elements=["organization_id", "request_id"]
        )
        rows = [
            {
                "organization_id": hit.organization_id,
                "request_id": hit.request_id,
                "stratum": hit.stratum,
                "stored": hit.stored,
                "false_hit_bound": hit.false_hit_bound,
                "at_ns": hit.at_ns,
            }
            for hit in hits
        ]
        await self._database.run(lambda connection: connection.execute(add, rows))

    async def hit(self, organization_id: str, request_id: str) -> ServedHit | None:
        """What was served to a request; None: nothing that is still known."""
        wanted = select(SEMANTIC_HITS).where(_H.organization_id == organization_id, _H.request_id == request_id)
        row = await self._database.run(lambda connection: connection.execute(wanted).mappings().one_or_none())
        return None if row is None else ServedHit(**{**row, "stored": bytes(row["stored"])})

    async def erase(self, organization_id: str) -> int:
        """Forgets everything of the organisation; how many outcomes there were."""

        def erase(connection: Connection) -> int:
            connection.execute(delete(SEMANTIC_HITS).where(_H.organization_id == organization_id))
            connection.execute(delete(SEMANTIC_LEDGERS).where(_L.organization_id == organization_id))
            theirs = delete(SEMANTIC_OUTCOMES).where(_O.organization_id == organization_id)
            return int(connection.execute(theirs).rowcount)

        return await self._database.run(erase)

    async def expire(self, outcomes_before_ns: int, hits_before_ns: int) -> None:
        """Forgets what is older."""

        def expire(connection: Connection) -> None:
            connection.execute(delete(SEMANTIC_OUTCOMES).where(_O.at_ns < outcomes_before_ns))
            connection.execute(delete(SEMANTIC_HITS).where(_H.at_ns < hits_before_ns))

        await self._database.run(expire)

    def _advance(
        self, key: LedgerKey, new: Sequence[Outcome], fold: Fold, connection: Connection
    ) -> tuple[str, Sequence[Outcome]]:
        is_it = and_(
            _L.organization_id == key.organization_id, _L.rule == key.rule, _L.false_hit_bound == key.false_hit_bound
        )
        kept = connection.execute(select(SEMANTIC_LEDGERS).where(is_it).with_for_update()).mappings().one_or_none()
        self._append(key, new, connection)
        state, folded = ("", 0) if kept is None else (kept["state"], kept["folded"])
        seen = _outcomes_after(key, folded, connection)
        after = fold(state, [outcome for _, outcome in seen])
        folded = seen[-1][0] if seen else folded
        if kept is None:
            named = {"organization_id": key.organization_id, "rule": key.rule, "false_hit_bound": key.false_hit_bound}
            connection.execute(SEMANTIC_LEDGERS.insert(), {**named, "state": after, "folded": folded})
        elif seen or after != state:
            connection.execute(update(SEMANTIC_LEDGERS).where(is_it).values(state=after, folded=folded))
        return after, [outcome for _, outcome in seen]

    def _append(self, key: LedgerKey, new: Sequence[Outcome], connection: Connection) -> None:
        theirs = _O.organization_id == key.organization_id
        for outcome in new:
            word = _O.kind == Kind.AUDIT.value if outcome.kind is Kind.AUDIT else _O.kind != Kind.AUDIT.value
            same = select(_O.number).where(theirs, _O.request_id == outcome.request_id, word)
            if connection.execute(same).first() is not None:
                continue
            last = connection.execute(select(func.max(_O.number)).where(theirs)).scalar() or 0
            connection.execute(SEMANTIC_OUTCOMES.insert(), _row(key, last + 1, outcome))


def _outcomes_after(key: LedgerKey, folded: int, connection: Connection) -> list[tuple[int, Outcome]]:
    """The outcomes that a ledger has not seen, oldest first, each with its number."""
    theirs = and_(_O.organization_id == key.organization_id, _O.rule == key.rule, _O.number > folded)
    newest = select(SEMANTIC_OUTCOMES).where(theirs).order_by(_O.number.desc()).limit(_MOST_FOLDED)
    rows = connection.execute(newest).mappings().all()
    return [(row["number"], _outcome(row)) for row in reversed(rows)]


def _row(key: LedgerKey, number: int, outcome: Outcome) -> dict[str, object]:
    return {
        "organization_id": key.organization_id,
        "number": number,
        "rule": key.rule,
        "request_id": outcome.request_id,
        "kind": outcome.kind.value,
        "stratum": outcome.stratum,
        "stored": outcome.stored,
        "wrong": outcome.wrong,
        "propensity": outcome.propensity,
        "at_ns": outcome.at_ns,
    }


def _outcome(row: RowMapping) -> Outcome:
    return Outcome(
        request_id=row["request_id"],
        kind=Kind(row["kind"]),
        stratum=row["stratum"],
        stored=bytes(row["stored"]),
        wrong=bool(row["wrong"]),
        propensity=row["propensity"],
        at_ns=row["at_ns"],
    )
