"""Requests that are made once, whatever is repeated: who repeats one reads along, or is told what was answered.

The request runs in a task of its own: a caller who leaves takes nothing away, and finds the answer on coming back.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1.cache_pb2 import BeginReplayResponse, ReplayedAnswer
from asahi_core.context import current_call
from asahi_core.errors import (
    AsahiError,
    Cancelled,
    DeadlineExceeded,
    IdempotencyConflict,
    InternalError,
    ServiceUnavailable,
    UpstreamInterrupted,
)

LEASE_S = 15.0
"""How long a request counts as under way after its edge was heard of last."""
_RENEW_S = 5.0
_POLL_S = 0.1
_END_TRIES = 30
_MAY_HAVE_COST = (Cancelled, DeadlineExceeded, InternalError, UpstreamInterrupted)
"""Ends after which a provider call may still be under way, or nobody knows: the request is not made again."""
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that is to be made once, as its caller names it."""

    organization_id: str
    principal_id: str
    key: str
    body_digest: bytes
    """SHA-256 over all that makes it the same request."""
    request_id: str
    user_id: str = ""

    @property
    def name(self) -> tuple[str, str, str]:
        """The same for all who repeat it."""
        return self.organization_id, self.principal_id, self.key


class ReplayStore(Protocol):
    """The cache service, as far as it keeps what became of requests. Raises `AsahiError`s only."""

    async def begin_replay(self, claim: Claim, lease_s: float) -> BeginReplayResponse:
        """Begins the request or prolongs its lease, or says what became of it.

        Raises:
            IdempotencyConflict: its key was used with another body.
            IdempotencyReplayUnavailable: it was made, and its answer is not kept.
        """
        ...

    async def end_replay(self, claim: Claim, answer: ReplayedAnswer | None, *, free: bool) -> None:
        """Keeps the answer; without one: whether the request may be made again."""
        ...


class Recording:
    """What comes of a request, as it is sent, for any number of readers."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.replayed = False
        """Whether it was answered before, at another edge or another time."""
        self.is_partial = False
        """Whether an error ended what had begun: it is no answer to keep."""
        self._chunks: list[bytes] = []
        self._error: AsahiError | None = None
        self._ended = False
        self._moved = asyncio.Event()

    def begin(self, headers: Mapping[str, str]) -> None:
        """Headers are known; before the first chunk."""
        self.headers |= headers

    def add(self, chunk: bytes) -> None:
        """The next piece of the body."""
        self._chunks.append(chunk)
        self._move()

    def finish(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._move()

    def fail(self, error: AsahiError) -> None:
        """It ends with `error`."""
        self._error = error
        self.finish()

    def play(self, answer: ReplayedAnswer) -> None:
        """It is an answer that was kept."""
        self.replayed = True
        self.begin(answer.headers)
        self.add(answer.body)
        self.finish()

    def kept(self) -> ReplayedAnswer:
        """What is to be kept of it."""
        return ReplayedAnswer(headers=self.headers, body=b"".join(self._chunks))

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body from its start, as it comes; raises what ended it."""
        position = 0
        while True:
            moved = self._moved
            while position < len(self._chunks):
                position += 1
                yield self._chunks[position - 1]
            if self._ended:
                break
            await moved.wait()
        if self._error is not None:
            raise self._error

    async def whole(self) -> bytes:
        """The whole body; raises what ended it."""
        return b"".join([chunk async for chunk in self.chunks()])

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


Produce = Callable[[Recording], Awaitable[None]]
"""Makes a request and records its answer; raises AsahiError."""


class Replays:
    """Makes requests once."""

    def __init__(self, store: ReplayStore, log: FilteringBoundLogger) -> None:
        self._store = store
        self._log = log
        self._open: dict[tuple[str, str, str], tuple[Claim, Recording]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, claim: Claim, produce: Produce) -> tuple[Recording, bool]:
        """What comes of the request, which `produce` makes unless it was made before; whether somebody else asked.

        Raises:
            IdempotencyConflict: it is under way here with another body. Other errors are those of the recording.
        """
        running = self._open.get(claim.name)
        if running is not None:
            if running[0].body_digest != claim.body_digest:
                raise IdempotencyConflict("This Idempotency-Key is in use with another body; take another key.")
            return running[1], True
        recording = Recording()
        self._open[claim.name] = claim, recording
        self._spawn(self._run(claim, recording, produce))
        return recording, False

    async def close(self, timeout_s: float) -> None:
        """Lets what is under way end for at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=timeout_s)

    async def _run(self, claim: Claim, recording: Recording, produce: Produce) -> None:
        try:
            answer = await self._begin(claim)
            if answer is not None:
                recording.play(answer)
            else:
                await self._make(claim, recording, produce)
        except AsahiError as error:
            recording.fail(error)
        except Exception:  # noqa: BLE001 - the last guard: whoever waits is told
            self._log.exception("replay_failed")
            recording.fail(InternalError("Something failed inside Asahi; the request id finds it in the log."))
        finally:
            del self._open[claim.name]

    async def _begin(self, claim: Claim) -> ReplayedAnswer | None:
        """None: it is this one that makes the request. Waits while another edge does.

        Raises:
            ServiceUnavailable: it cannot be known at the moment. Nothing was made: who asks again does no harm.
        """
        while True:
            try:
                found = await self._store.begin_replay(claim, LEASE_S)
            except (ServiceUnavailable, DeadlineExceeded) as error:
                self._spawn(self._end_late(claim, None, free=True))  # it may have been begun all the same
                if isinstance(error, ServiceUnavailable):
                    raise
                deadline = current_call.get().deadline
                if deadline is not None and asyncio.get_running_loop().time() >= deadline:
                    raise
                words = "What was asked with this Idempotency-Key cannot be looked up in time; send the request again."
                raise ServiceUnavailable(words, retry_after_s=1.0) from error
            match found.WhichOneof("outcome"):
                case "begun":
                    return None
                case "answer":
                    return found.answer
            await asyncio.sleep(_POLL_S)

    async def _make(self, claim: Claim, recording: Recording, produce: Produce) -> None:
        renewing = asyncio.create_task(self._renew(claim))
        try:
            await produce(recording)
        except AsahiError as error:
            await self._end(claim, None, free=not error.billed and not isinstance(error, _MAY_HAVE_COST))
            raise
        else:
            await self._end(claim, None if recording.is_partial else recording.kept(), free=False)
            recording.finish()
        finally:
            renewing.cancel()

    async def _renew(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with suppress(AsahiError):
                await self._store.begin_replay(claim, LEASE_S)

    async def _end(self, claim: Claim, answer: ReplayedAnswer | None, *, free: bool) -> None:
        """Keeps how it ended before anybody is told; where that fails, for half a minute after."""
        current_call.set(replace(current_call.get(), deadline=None))
        try:
            await self._store.end_replay(claim, answer, free=free)
        except AsahiError as error:
            self._log.warning("replay_not_kept", error=error.message)
            self._spawn(self._end_late(claim, answer, free=free))

    async def _end_late(self, claim: Claim, answer: ReplayedAnswer | None, *, free: bool) -> None:
        for _ in range(_END_TRIES):
            await asyncio.sleep(_AGAIN_S)
            with suppress(AsahiError):
                await self._store.end_replay(claim, answer, free=free)
                return

    def _spawn(self, coroutine: "Awaitable[None]") -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
