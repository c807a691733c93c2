"""Kept responses in an SQL database. A conversation is walked from its last response to its first."""

from functools import partial

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    delete,
    exists,
    func,
    literal,
    select,
    tuple_,
)

from asahi_cache.domain.stored_responses import ResponseId, StoredResponse, Turn
from asahi_cache.stores.database import CacheDatabase
from asahi_cache.stores.tables import STORED_RESPONSES
from asahi_core.errors import RequestTooLarge
from asahi_core.sql.upserts import insert_of

_S = STORED_RESPONSES.c
_LATER = STORED_RESPONSES.alias("later")
_KEY = ("organization_id", "response_id")
_BATCH = 200


class SqlStoredResponses:
    """A `StoredResponseStore`."""

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database
        insert = insert_of(database, STORED_RESPONSES)
        new = {name: column for name, column in insert.excluded.items() if name not in _KEY}
        self._put = insert.on_conflict_do_update(index_elements=_KEY, set_=new)

    async def keep(self, response: StoredResponse) -> bool:
        """Keeps `response` in place of one of its id; False: what it goes on with is not there."""
        return await self._database.run(partial(self._keep, response))

    async def find(self, named: ResponseId, now_ns: int) -> tuple[bytes, bytes] | None:
        """The response as it was answered, and its output."""
        wanted = select(_S.response, _S.output).where(_is(named), _lives(now_ns))
        row = await self._database.run(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else (bytes(row.response), bytes(row.output))

    async def conversation(self, named: ResponseId, now_ns: int, most_bytes: int) -> list[Turn] | None:
        """What was said up to a response, oldest first; None: not all of it is there."""
        return await self._database.run(partial(_conversation, named, now_ns, most_bytes))

    async def delete(self, named: ResponseId, now_ns: int) -> bool:
        """Drops a response; whether it was there."""
        change = delete(STORED_RESPONSES).where(_is(named), _lives(now_ns))
        return await self._database.run(lambda connection: connection.execute(change).rowcount > 0)

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops the responses of an organisation, of one end user if one is given; how many."""
        change = delete(STORED_RESPONSES).where(_S.organization_id == organization_id)
        if user_id:
            change = change.where(_S.user_id == _storable(user_id))
        return await self._database.run(lambda connection: int(connection.execute(change).rowcount))

    async def expire(self, now_ns: int) -> None:
        """Drops conversations of which everything has expired, some rows at a time."""
        key = tuple_(_S.organization_id, _S.response_id)
        old = STORED_RESPONSES.alias("old")
        lives = _lives(now_ns, old)
        expired = (
            select(old.c.organization_id, old.c.response_id).where(old.c.expires_at_ns <= now_ns, ~lives).limit(_BATCH)
        )
        change = delete(STORED_RESPONSES).where(key.in_(expired))
        while await self._database.run(lambda connection: connection.execute(change).rowcount) == _BATCH:
            pass

    def _keep(self, response: StoredResponse, connection: Connection) -> bool:
        conversation_id: str | None = response.id.response_id
        if response.previous_id:
            previous = ResponseId(response.id.organization_id, response.previous_id)
            wanted = select(_S.conversation_id).where(_is(previous), _lives(response.created_at_ns))
            conversation_id = connection.execute(wanted).scalar_one_or_none()
        if conversation_id is None:
            return False
        connection.execute(self._put, _row(response, conversation_id))
        return True


def _conversation(named: ResponseId, now_ns: int, most_bytes: int, connection: Connection) -> list[Turn] | None:
    said = _said(named, now_ns)
    size = select(func.sum(func.length(_S.input) + func.length(_S.output))).join_from(
        said, STORED_RESPONSES, and_(_S.organization_id == named.organization_id, _S.response_id == said.c.response_id)
    )
    total = connection.execute(size).scalar_one() or 0
    if total > most_bytes:
        message = f"The conversation has {total} bytes, over the limit of {most_bytes}; begin another one."
        raise RequestTooLarge(message, param="previous_response_id")
    wanted = (
        select(_S.response_id, _S.previous_response_id, _S.input, _S.output)
        .join_from(
            said,
            STORED_RESPONSES,
            and_(_S.organization_id == named.organization_id, _S.response_id == said.c.response_id),
        )
        .order_by(said.c.depth.desc())
    )
    rows = connection.execute(wanted).all()
    if not rows or rows[0].previous_response_id:
        return None
    return [Turn(row.response_id, bytes(row.input), bytes(row.output)) for row in rows]


def _said(named: ResponseId, now_ns: int) -> CTE:
    """A response and all that it goes on with, by how far back they are."""
    last = select(_S.response_id, _S.previous_response_id, literal(0).label("depth")).where(_is(named), _lives(now_ns))
    said = last.cte("said", recursive=True)
    before = select(_S.response_id, _S.previous_response_id, said.c.depth + 1).where(
        _S.organization_id == named.organization_id, _S.response_id == said.c.previous_response_id
    )
    return said.union_all(before)


def _is(named: ResponseId) -> ColumnElement[bool]:
    return and_(_S.organization_id == named.organization_id, _S.response_id == _storable(named.response_id))


def _lives(now_ns: int, response: FromClause = STORED_RESPONSES) -> ColumnElement[bool]:
    """Whether something of a response's conversation has not expired."""
    own = response.c
    same = and_(_LATER.c.organization_id == own.organization_id, _LATER.c.conversation_id == own.conversation_id)
    return exists().where(same, _LATER.c.expires_at_ns > now_ns).correlate(response)


def _storable(text: str) -> str:
    """PostgreSQL's texts cannot hold this character."""
    return text.replace("\0", "\ufffd")


def _row(response: StoredResponse, conversation_id: str) -> dict[str, object]:
    return {
        "organization_id": response.id.organization_id,
        "response_id": _storable(response.id.response_id),
        "conversation_id": conversation_id,
        "previous_response_id": _storable(response.previous_id),
        "user_id": _storable(response.user_id),
        "created_at_ns": response.created_at_ns,
        "expires_at_ns": response.expires_at_ns,
        "input": response.turn.input_json,
        "output": response.turn.output_json,
        "response": response.response_json,
    }
