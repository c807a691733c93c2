"""Requests that are to be made once: who makes each, how it ended, and its answer for whoever repeats it."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from asahi_core.clock import Clock
from asahi_core.errors import IdempotencyConflict, IdempotencyReplayUnavailable, InvalidRequest

KEPT_S = 24 * 3600.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_LONGEST_KEY = 255
_DIGEST_BYTES = 32
_NANOS = 1_000_000_000


class ReplayState(StrEnum):
    """What became of a request."""

    UNDER_WAY = "under_way"
    ANSWERED = "answered"
    LOST = "lost"
    """It was made, and its answer is not kept."""


@dataclass(frozen=True, slots=True)
class ReplayId:
    """A request as its caller names it; of the name only a digest is kept."""

    organization_id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """A request that is to be made once; times in ns since 1970."""

    id: ReplayId
    body_digest: bytes
    request_id: str
    user_id: str
    state: ReplayState
    leased_until_ns: int
    expires_at_ns: int
    answer: bytes = b""


class ReplayStore(Protocol):
    """Keeps replays durably. Raises ServiceUnavailable."""

    async def begin(self, replay: Replay, now_ns: int) -> Replay:
        """Adds `replay` unless one of its id is there that has not expired; the one that is there now."""
        ...

    async def lease(self, replay_id: ReplayId, request_id: str, until_ns: int) -> None:
        """Prolongs what `request_id` makes."""
        ...

    async def end(self, replay_id: ReplayId, request_id: str, state: ReplayState, answer: bytes) -> None:
        """Ends what `request_id` makes, if it is still under way."""
        ...

    async def free(self, replay_id: ReplayId, request_id: str) -> None:
        """Forgets what `request_id` makes, if it is still under way."""
        ...

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops the answers of an organisation, of one end user if one is given; how many."""
        ...

    async def expire(self, now_ns: int) -> None:
        """Forgets what has expired."""
        ...


class Replays:
    """Checks what is asked of a `ReplayStore`."""

    def __init__(self, store: ReplayStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def begin(
        self, replay_id: ReplayId, body_digest: bytes, request_id: str, user_id: str, lease_s: float
    ) -> Replay:
        """Begins a request, or says what became of it: `UNDER_WAY` by whom, or `ANSWERED` with what.

        Raises:
            InvalidRequest: it cannot be understood.
            IdempotencyConflict: it was another body.
            IdempotencyReplayUnavailable: it was made, and its answer is not kept.
        """
        if len(body_digest) != _DIGEST_BYTES:
            raise InvalidRequest(f"body_digest has {len(body_digest)} bytes, not 32.", param="body_digest")
        if not request_id:
            raise InvalidRequest("request_id is missing.", param="request_id")
        if not 1 <= lease_s <= 3600:
            raise InvalidRequest(f"lease is {lease_s:g} s; it takes 1 s to 1 h.", param="lease")
        now_ns = self._now_ns()
        until_ns, expires_ns = now_ns + int(lease_s * _NANOS), now_ns + int(KEPT_S * _NANOS)
        wanted = Replay(replay_id, body_digest, request_id, user_id, ReplayState.UNDER_WAY, until_ns, expires_ns)
        found = await self._store.begin(wanted, now_ns)
        if found.body_digest != body_digest:
            raise IdempotencyConflict("This Idempotency-Key was used with another body; take another key for this one.")
        if found.state is ReplayState.UNDER_WAY and found.request_id == request_id:
            if found.leased_until_ns < until_ns:
                await self._store.lease(replay_id, request_id, until_ns)
            return found
        lost = found.state is ReplayState.UNDER_WAY and found.leased_until_ns <= now_ns
        if lost or found.state is ReplayState.LOST:
            raise IdempotencyReplayUnavailable(
                "The request with this Idempotency-Key was made, and its answer is not kept. It is not made again, for "
                "that could cost again; take another key if it shall be."
            )
        return found

    async def answer(self, replay_id: ReplayId, request_id: str, answer: bytes) -> None:
        """Keeps the answer; one that is too large is lost."""
        if len(answer) > MAX_ANSWER_BYTES:
            await self.lose(replay_id, request_id)
        else:
            await self._store.end(replay_id, request_id, ReplayState.ANSWERED, answer)

    async def lose(self, replay_id: ReplayId, request_id: str) -> None:
        """There is no whole answer, and something was spent."""
        await self._store.end(replay_id, request_id, ReplayState.LOST, b"")

    async def free(self, replay_id: ReplayId, request_id: str) -> None:
        """There is no answer, and nothing was spent: the request may be made again."""
        await self._store.free(replay_id, request_id)

    async def erase(self, organization_id: str, user_id: str) -> int:
        """Drops kept answers; how many. Their requests are still not made again."""
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        return await self._store.erase(organization_id, user_id)

    async def expire(self) -> None:
        """Forgets what was begun 24 h ago."""
        await self._store.expire(self._now_ns())

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * _NANOS)


def replay_id(organization_id: str, principal_id: str, key: str) -> ReplayId:
    """The id of a request as its caller names it; raises InvalidRequest."""
    for field, value in (("organization_id", organization_id), ("principal_id", principal_id), ("key", key)):
        if not 1 <= len(value) <= _LONGEST_KEY:
            message = f"name.{field} has {len(value)} characters; it takes 1 to {_LONGEST_KEY}."
            raise InvalidRequest(message, param=f"name.{field}")
    named = f"{len(principal_id)}:{principal_id}{key}".encode("utf-8", "surrogatepass")
    return ReplayId(organization_id, sha256(named).digest())
