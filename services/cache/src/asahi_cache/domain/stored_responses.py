"""Responses that are kept for their callers: read again, gone on with, dropped; always of one organisation."""

from dataclasses import dataclass
from typing import Protocol

from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest, NotFound, RequestTooLarge

MAX_BYTES = 32 * 1024 * 1024
"""Most bytes of a response with what it was asked, and of a conversation."""
_LONGEST_ID = 255
_LONGEST_S = 36_500 * 86_400.0
_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ResponseId:
    """A response as its organisation names it."""

    organization_id: str
    response_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked and what was answered, each a JSON list of items."""

    response_id: str
    input_json: bytes
    output_json: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response to be kept; times in ns since 1970."""

    id: ResponseId
    previous_id: str
    """The response that it goes on with; empty: none."""
    user_id: str
    turn: Turn
    response_json: bytes
    """As it was answered, without its output."""
    created_at_ns: int
    expires_at_ns: int


class StoredResponseStore(Protocol):
    """Keeps responses durably, each until the last of its conversation expires. Raises ServiceUnavailable."""

    async def keep(self, response: StoredResponse) -> bool:
        """Keeps `response` in place of one of its id; False: what it goes on with is not there."""
        ...

    async def find(self, named: ResponseId, now_ns: int) -> tuple[bytes, bytes] | None:
        """The response as it was answered, and its output."""
        ...

    async def conversation(self, named: ResponseId, now_ns: int, most_bytes: int) -> list[Turn] | None:
        """What was said up to a response, oldest first; None: not all of it is there.

        Raises:
            RequestTooLarge: it is more than `most_bytes`.
        """
        ...

    async def delete(self, named: ResponseId, now_ns: int) -> bool:
        """Drops a response; whether it was there."""
        ...

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops the responses of an organisation, of one end user if one is given; how many."""
        ...

    async def expire(self, now_ns: int) -> None:
        """Drops conversations of which everything has expired."""
        ...


class StoredResponses:
    """Checks what is asked of a `StoredResponseStore`."""

    def __init__(self, store: StoredResponseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def keep(
        self,
        named: ResponseId,
        *,
        previous_id: str,
        user_id: str,
        turn: Turn,
        response_json: bytes,
        keep_s: float,
    ) -> None:
        """Keeps a response for `keep_s` seconds.

        Raises:
            InvalidRequest: it cannot be kept as it is.
            RequestTooLarge: it is more than `MAX_BYTES`.
            NotFound: what it goes on with is not kept.
        """
        _check(named)
        if not 0 < keep_s <= _LONGEST_S:
            raise InvalidRequest(f"keep_for is {keep_s:g} s; it takes up to {_LONGEST_S:.0f} s.", param="keep_for")
        size = len(turn.input_json) + len(turn.output_json) + len(response_json)
        if size > MAX_BYTES:
            raise RequestTooLarge(f"The response has {size} bytes with its input; at most {MAX_BYTES} are kept.")
        now_ns = self._now_ns()
        response = StoredResponse(
            named, previous_id, user_id, turn, response_json, now_ns, now_ns + int(keep_s * _NANOS)
        )
        if not await self._store.keep(response):
            raise _not_found(previous_id)

    async def get(self, named: ResponseId) -> tuple[bytes, bytes]:
        """The response as it was answered, and its output; raises NotFound."""
        found = await self._store.find(named, self._now_ns())
        if found is None:
            raise _not_found(named.response_id)
        return found

    async def conversation(self, named: ResponseId) -> list[Turn]:
        """What was said up to a response and with it, oldest first.

        Raises:
            NotFound: it, or a part of what it goes on with, is not kept.
            RequestTooLarge: it is more than `MAX_BYTES`.
        """
        turns = await self._store.conversation(named, self._now_ns(), MAX_BYTES)
        if turns is None:
            raise _not_found(named.response_id)
        return turns

    async def delete(self, named: ResponseId) -> None:
        """Drops a response; raises NotFound."""
        if not await self._store.delete(named, self._now_ns()):
            raise _not_found(named.response_id)

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops the responses of an organisation or of one of its end users; how many."""
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        return await self._store.erase(organization_id, user_id)

    async def expire(self) -> None:
        """Drops what has expired."""
        await self._store.expire(self._now_ns())

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * _NANOS)


def _check(named: ResponseId) -> None:
    for field, value in (("organization_id", named.organization_id), ("response_id", named.response_id)):
        if not 1 <= len(value) <= _LONGEST_ID:
            raise InvalidRequest(f"{field} has {len(value)} characters; it takes 1 to {_LONGEST_ID}.", param=field)


def _not_found(response_id: str) -> NotFound:
    """In the same words whether another organisation has it or nobody."""
    return NotFound(f"Response with id '{response_id[:_LONGEST_ID]}' not found.")
