"""Outcomes in an SQL database, on one thread of their own: a commit waits for the disk."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, bindparam, select

from asahi_core.sql.availability import told_as_unavailable
from asahi_core.sql.lane import Lane
from asahi_core.sql.upserts import insert_of
from asahi_router.domain.erasure import Erased
from asahi_router.domain.examples import Example, Judged, Pair
from asahi_router.domain.outcomes import Outcome
from asahi_router.domain.signals import Answers
from asahi_router.stores import erasures
from asahi_router.stores import examples as rows
from asahi_router.stores.tables import OUTCOMES, storable

T = TypeVar("T")
_KEY = ("organization_id", "request_id", "source")
_STORE = "store of outcomes"
_OF_REQUEST = (
    select(OUTCOMES)
    .where(
        OUTCOMES.c.organization_id == bindparam("organization_id"),
        OUTCOMES.c.request_id == bindparam("request_id"),
    )
    .order_by(OUTCOMES.c.source)
)


class SqlOutcomeStore:
    """An `OutcomeStore`, an `ExampleStore` and an `ErasureStore` behind one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._put = _put(engine)
        self._lane = Lane("outcomes", 1, store=_STORE)

    async def record(self, outcome: Outcome) -> None:
        """Keeps it, durably, in the place of what the same source said of the same request before."""
        await self._on_thread(partial(self._write, asdict(outcome) | {"user_id": storable(outcome.user_id)}))

    async def of_request(self, organization_id: str, request_id: str) -> list[Outcome]:
        """What was said of a request, by source."""
        return await self._on_thread(partial(self._read, organization_id, request_id))

    async def keep(self, examples: Sequence[Example]) -> None:
        """Keeps answered questions."""
        await self._on_thread(partial(self._committed, partial(rows.keep, examples=examples)))

    async def judged(self, since: datetime, most: int, organization_id: str = "") -> list[Judged]:
        """Those of an organisation, or (empty) of all, that somebody judged at `since` or later, the earliest first."""
        work = partial(rows.judged, since=since, most=most, organization_id=organization_id)
        return await self._on_thread(partial(self._committed, work))

    async def signalled(self, since: datetime, most: int, organization_id: str = "") -> list[Example]:
        """Those answered then or later with a signal that nobody judged, the earliest first."""
        work = partial(rows.signalled, since=since, most=most, organization_id=organization_id)
        return await self._on_thread(partial(self._committed, work))

    async def keep_pairs(self, pairs: Sequence[Pair]) -> None:
        """Keeps compared answers."""
        await self._on_thread(partial(self._committed, partial(rows.keep_pairs, pairs=pairs)))

    async def pairs(self, since: datetime, most: int, organization_id: str = "") -> list[Pair]:
        """Those answered then or later, of an organisation, or (empty) of all, the earliest first."""
        work = partial(rows.pairs, since=since, most=most, organization_id=organization_id)
        return await self._on_thread(partial(self._committed, work))

    async def signal(self, organization_id: str, request_id: str, signal: str) -> None:
        """Notes a signal of an answer that has none."""
        work = partial(rows.signal, organization_id=organization_id, request_id=request_id, signal=signal)
        await self._on_thread(partial(self._committed, work))

    async def answers(self, organization_id: str, since: datetime) -> list[Answers]:
        """How many answers an organisation got then or later, by model, with a signal and without."""
        work = partial(rows.answers, organization_id=organization_id, since=since)
        return await self._on_thread(partial(self._committed, work))

    async def erase(self, organization_id: str, user_id: str, at: datetime) -> Erased:
        """Drops what is of an end user, or (empty) of all of an organisation, and notes when."""
        work = partial(erasures.erase, organization_id=organization_id, user_id=user_id, at=at)
        return await self._on_thread(partial(self._committed, work))

    async def withdraw(self, organization_id: str, at: datetime) -> None:
        """Shares nothing of an organisation any more."""
        work = partial(erasures.withdraw, organization_id=organization_id, at=at)
        await self._on_thread(partial(self._committed, work))

    async def erasures(self) -> dict[str, datetime]:
        """When something was erased last, by organisation."""
        return await self._on_thread(partial(self._committed, erasures.when))

    async def forget_unjudged(self, before: datetime) -> None:
        """Drops what was answered before that and neither judged nor compared."""
        await self._on_thread(partial(self._committed, partial(rows.forget_unjudged, before=before)))

    def close(self) -> None:
        """Finishes what is under way and closes the connection."""
        self._lane.close()
        self._engine.dispose()

    def _committed(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    def _write(self, row: dict[str, Any]) -> None:
        with self._engine.begin() as connection:
            connection.execute(self._put, row)

    def _read(self, organization_id: str, request_id: str) -> list[Outcome]:
        with self._engine.connect() as connection:
            rows = connection.execute(_OF_REQUEST, {"organization_id": organization_id, "request_id": request_id})
            return [_outcome(row) for row in rows.mappings()]

    async def _on_thread(self, work: Callable[[], T]) -> T:
        with told_as_unavailable(_STORE):
            return await self._lane.run(work)


def _put(engine: Engine) -> Any:
    insert = insert_of(engine, OUTCOMES)
    changes = {column.name: insert.excluded[column.name] for column in OUTCOMES.c if column.name not in _KEY}
    return insert.on_conflict_do_update(index_elements=list(_KEY), set_=changes)


def _outcome(row: RowMapping) -> Outcome:
    return Outcome(**{**row, "recorded_at": row["recorded_at"].replace(tzinfo=UTC)})
