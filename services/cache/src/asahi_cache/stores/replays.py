"""Replays in an SQL database."""

from functools import partial

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, select, update

from asahi_cache.domain.replays import Replay, ReplayId, ReplayState
from asahi_cache.stores.database import CacheDatabase
from asahi_cache.stores.tables import REPLAYS
from asahi_core.sql.upserts import insert_of

_R = REPLAYS.c


class SqlReplayStore:
    """A `ReplayStore`."""

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database
        insert = insert_of(database, REPLAYS)
        self._add = insert.on_conflict_do_nothing(index_elements=["organization_id", "digest"]).returning(_R.digest)

    async def begin(self, replay: Replay, now_ns: int) -> Replay:
        """Adds `replay` unless one of its id is there that has not expired; the one that is there now."""
        return await self._database.run(partial(self._begin, replay, now_ns))

    async def lease(self, replay_id: ReplayId, request_id: str, until_ns: int) -> None:
        """Prolongs what `request_id` makes."""
        change = update(REPLAYS).where(_made_by(replay_id, request_id)).values(leased_until_ns=until_ns)
        await self._database.run(lambda connection: connection.execute(change))

    async def end(self, replay_id: ReplayId, request_id: str, state: ReplayState, answer: bytes) -> None:
        """Ends what `request_id` makes, if it is still under way."""
        change = update(REPLAYS).where(_made_by(replay_id, request_id)).values(state=state.value, answer=answer)
        await self._database.run(lambda connection: connection.execute(change))

    async def free(self, replay_id: ReplayId, request_id: str) -> None:
        """Forgets what `request_id` makes, if it is still under way."""
        change = delete(REPLAYS).where(_made_by(replay_id, request_id))
        await self._database.run(lambda connection: connection.execute(change))

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops the answers of an organisation, of one end user if one is given; how many."""
        theirs = and_(_R.organization_id == organization_id, _R.state == ReplayState.ANSWERED.value)
        if user_id:
            theirs = and_(theirs, _R.user_id == user_id)
        change = update(REPLAYS).where(theirs).values(state=ReplayState.LOST.value, answer=b"", user_id="")
        return await self._database.run(lambda connection: int(connection.execute(change).rowcount))

    async def expire(self, now_ns: int) -> None:
        """Forgets what has expired."""
        change = delete(REPLAYS).where(_R.expires_at_ns <= now_ns)
        await self._database.run(lambda connection: connection.execute(change))

    def _begin(self, replay: Replay, now_ns: int, connection: Connection) -> Replay:
        connection.execute(delete(REPLAYS).where(_is(replay.id), _R.expires_at_ns <= now_ns))
        if connection.execute(self._add, _row(replay)).first() is not None:
            return replay
        found = connection.execute(select(REPLAYS).where(_is(replay.id))).mappings().one_or_none()
        return _replay(found) if found is not None else self._begin(replay, now_ns, connection)


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
