"""Replays in an SQL database, on threads of their own: a commit waits for the disk."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from asahi_cache.domain.replays import Replay, ReplayId, ReplayState
from asahi_cache.stores.tables import REPLAYS
from asahi_core.sql.availability import told_as_unavailable
from asahi_core.sql.lane import Lane

T = TypeVar("T")
CONNECTIONS = 2
_STORE = "store of idempotent requests"
_R = REPLAYS.c


class SqlReplayStore:
    """A `ReplayStore` behind an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        insert = sqlite.insert(REPLAYS) if engine.dialect.name == "sqlite" else postgresql.insert(REPLAYS)
        self._add = insert.on_conflict_do_nothing(index_elements=["organization_id", "digest"]).returning(_R.digest)
        self._lane = Lane("replays", 1 if engine.dialect.name == "sqlite" else CONNECTIONS, store=_STORE)

    async def begin(self, replay: Replay, now_ns: int) -> Replay:
        """Adds `replay` unless one of its id is there that has not expired; the one that is there now."""
        return await self._change(partial(self._begin, replay, now_ns))

    async def lease(self, replay_id: ReplayId, request_id: str, until_ns: int) -> None:
        """Prolongs what `request_id` makes."""
        change = update(REPLAYS).where(_made_by(replay_id, request_id)).values(leased_until_ns=until_ns)
        await self._change(lambda connection: connection.execute(change))

    async def end(self, replay_id: ReplayId, request_id: str, state: ReplayState, answer: bytes) -> None:
        """Ends what `request_id` makes, if it is still under way."""
        change = update(REPLAYS).where(_made_by(replay_id, request_id)).values(state=state.value, answer=answer)
        await self._change(lambda connection: connection.execute(change))

    async def free(self, replay_id: ReplayId, request_id: str) -> None:
        """Forgets what `request_id` makes, if it is still under way."""
        change = delete(REPLAYS).where(_made_by(replay_id, request_id))
        await self._change(lambda connection: connection.execute(change))

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops the answers of an organisation, of one end user if one is given; how many."""
        theirs = and_(_R.organization_id == organization_id, _R.state == ReplayState.ANSWERED.value)
        if user_id:
            theirs = and_(theirs, _R.user_id == user_id)
        change = update(REPLAYS).where(theirs).values(state=ReplayState.LOST.value, answer=b"", user_id="")
        return await self._change(lambda connection: int(connection.execute(change).rowcount))

    async def expire(self, now_ns: int) -> None:
        """Forgets what has expired."""
        change = delete(REPLAYS).where(_R.expires_at_ns <= now_ns)
        await self._change(lambda connection: connection.execute(change))

    def close(self) -> None:
        """Finishes what is under way and closes the connections."""
        self._lane.close()
        self._engine.dispose()

    def _begin(self, replay: Replay, now_ns: int, connection: Connection) -> Replay:
        connection.execute(delete(REPLAYS).where(_is(replay.id), _R.expires_at_ns <= now_ns))
        if connection.execute(self._add, _row(replay)).first() is not None:
            return replay
        found = connection.execute(select(REPLAYS).where(_is(replay.id))).mappings().one_or_none()
        return _replay(found) if found is not None else self._begin(replay, now_ns, connection)

    async def _change(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        with told_as_unavailable(_STORE):
            return await self._lane.run(run)


def _is(replay_id: ReplayId) -> ColumnElement[bool]:
    return and_(_R.organization_id == replay_id.organization_id, _R.digest == replay_id.digest)


def _made_by(replay_id: ReplayId, request_id: str) -> ColumnElement[bool]:
    return and_(_is(replay_id), _R.request_id == request_id, _R.state == ReplayState.UNDER_WAY.value)


def _row(replay: Replay) -> dict[str, object]:
    return {
        "organization_id": replay.id.organization_id,
        "digest": replay.id.digest,
        "body_digest": replay.body_digest,
        "request_id": replay.request_id,
        "user_id": replay.user_id.replace("\0", "\ufffd"),
        "state": replay.state.value,
        "leased_until_ns": replay.leased_until_ns,
        "expires_at_ns": replay.expires_at_ns,
        "answer": replay.answer,
    }


def _replay(row: RowMapping) -> Replay:
    return Replay(
        id=ReplayId(row["organization_id"], bytes(row["digest"])),
        body_digest=bytes(row["body_digest"]),
        request_id=row["request_id"],
        user_id=row["user_id"],
        state=ReplayState(row["state"]),
        leased_until_ns=row["leased_until_ns"],
        expires_at_ns=row["expires_at_ns"],
        answer=bytes(row["answer"]),
    )
