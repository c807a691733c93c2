"""A caller's standing connection: many completions at once, each as a `Complete` of its own would go.

What is there together travels together. Each completion has a window of bytes that its caller has not taken yet: when
that is full it waits, and with it its provider, so that none can hold up the others' events for long.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field

from asahi.router.v1 import router_pb2 as pb
from asahi_core.context import CallContext
from asahi_core.errors import AsahiError, InvalidRequest
from asahi_core.rpc.status import status_from_error
from asahi_router.domain.completion import Completions

_WINDOW_BYTES = 256 * 1024
_FRAME_BYTES = 256 * 1024

Handled = Callable[[CallContext], AbstractContextManager[None]]
"""What surrounds the handling of a call; raises `AsahiError`s only."""


class _Call:
    """One completion of a connection."""

    task: "asyncio.Task[None]"

    def __init__(self, begin: pb.AttachedStart) -> None:
        self.begin = begin
        self.decision = pb.Decision()
        self.outcomes: list[pb.AttemptOutcome] = []
        """Of its calls, as far as they were told."""
        self.inbox: asyncio.Queue[pb.CompleteRequest] = asyncio.Queue()
        self._window = _WINDOW_BYTES
        self._room: asyncio.Future[None] | None = None

    async def spend(self, size: int) -> None:
        """Returns when an event of `size` bytes may be sent."""
        while self._window <= 0:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        self._window -= size

    def refund(self, size: int) -> None:
        """The caller has taken `size` bytes."""
        self._window = min(_WINDOW_BYTES, self._window + size)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def note(self, event: pb.CompleteResponse) -> None:
        """Remembers what its caller is told of its calls."""
        match event.WhichOneof("event"):
            case "decision":
                self.decision = event.decision
            case "attempt_failed":
                self.outcomes.append(event.attempt_failed)
            case "completed":
                self.outcomes.append(event.completed.outcome)

    async def heard(self) -> AsyncIterator[pb.CompleteRequest]:
        """What the caller says after the start."""
        while True:
            yield await self.inbox.get()


@dataclass(slots=True)
class _Frame:
    """Responses that travel together."""

    response: pb.AttachResponse = field(default_factory=pb.AttachResponse)
    size: int = 0
    written: "list[asyncio.Future[None]]" = field(default_factory=list)
    """Who waits until it is on its way."""


class Attachment:
    """A caller's standing connection."""

    def __init__(self, completions: Completions, handled: Handled) -> None:
        self._completions = completions
        self._handled = handled
        self._calls: dict[int, _Call] = {}
        self._unread: dict[int, _Call] = {}
        """What was told the end, but whose caller has not said yet that it knows."""
        self._last_call_id = 0
        self._frames: deque[_Frame] = deque()
        self._moved: asyncio.Future[None] | None = None

    async def responses(
        self, requests: AsyncIterator[pb.AttachRequest], stop: asyncio.Event
    ) -> AsyncIterator[pb.AttachResponse]:
        """What the caller is told, until it has ended its side and all its completions have ended."""
        listening = asyncio.create_task(self._listen(requests))
        stopping = asyncio.create_task(self._say_when_leaving(stop))
        try:
            while self._frames or self._calls or not listening.done():
                if not self._frames:
                    self._moved = asyncio.get_running_loop().create_future()
                    await self._moved
                    continue
                frame = self._frames.popleft()
                yield frame.response
                for written in frame.written:
                    if not written.done():
                        written.set_result(None)
            listening.result()
        finally:
            listening.cancel()
            stopping.cancel()
            self.end()
            if self._calls:  # what was under way for them is handed over before the service may close
                await asyncio.wait({call.task for call in self._calls.values()})
            for call_id in tuple(self._unread):
                self._settle(call_id)

    def end(self) -> None:
        """The caller is not there any more: nor is who waits for a completion. A second time changes nothing."""
        for call in self._calls.values():
            call.task.cancel()

    async def _listen(self, requests: AsyncIterator[pb.AttachRequest]) -> None:
        try:
            async for request in requests:
                for one in request.requests:
                    self._take(one)
                for call_id in request.read_call_ids:
                    self._unread.pop(call_id, None)
        finally:
            self._wake()

    def _take(self, request: pb.AttachedRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "begin":
            self._begin(request)
            return
        call = self._calls.get(request.call_id)
        if call is None:  # it has ended, which its caller is about to read, or will never
            if kind == "abandon":
                self._settle(request.call_id)
            return
        match kind:
            case "go_ahead":
                call.inbox.put_nowait(pb.CompleteRequest(go_ahead=request.go_ahead))
            case "cancel":
                call.inbox.put_nowait(pb.CompleteRequest(cancel=request.cancel))
            case "taken_bytes":
                call.refund(request.taken_bytes)
            case "abandon":
                if not call.task.cancel():
                    self._settle(request.call_id)

    def _begin(self, request: pb.AttachedRequest) -> None:
        if request.call_id <= self._last_call_id:
            raise InvalidRequest(
                f"Completion {request.call_id} is begun after {self._last_call_id}; numbers must rise.", param="call_id"
            )
        self._last_call_id = request.call_id
        call = self._calls[request.call_id] = _Call(request.begin)
        call.task = asyncio.create_task(self._complete(request.call_id, call))
        call.task.add_done_callback(lambda _: self._ended(request.call_id))

    async def _complete(self, call_id: int, call: _Call) -> None:
        begin = call.begin
        deadline = asyncio.get_running_loop().time() + begin.time_ms / 1000 if begin.HasField("time_ms") else None
        try:
            with self._handled(CallContext(begin.start.task.request_id, begin.traceparent, deadline)):
                async with aclosing(self._completions.run(begin.start, call.heard())) as events:
                    async for event in events:
                        await self._tell(call_id, call, event)
        except AsahiError as error:
            self._await_reading(call_id, call)
            self._frame(0).response.responses.add(
                call_id=call_id, failed_status=status_from_error(error).SerializeToString()
            )

    def _ended(self, call_id: int) -> None:
        if self._calls.pop(call_id).task.cancelled():  # its calls are looked after already
            self._unread.pop(call_id, None)
        self._wake()

    def _await_reading(self, call_id: int, call: _Call) -> None:
        if call.outcomes and call.begin.says_read:
            self._unread[call_id] = call

    def _settle(self, call_id: int) -> None:
        """Settles calls whose caller may not know how they ended."""
        call = self._unread.pop(call_id, None)
        if call is not None:
            self._completions.unread(call.begin.start.task, call.decision, call.outcomes)

    async def _tell(self, call_id: int, call: _Call, event: pb.CompleteResponse) -> None:
        """Sends an event when there is room; the last one is on its way when this returns."""
        size = event.ByteSize()
        await call.spend(size)
        call.note(event)
        if event.HasField("completed"):
            self._await_reading(call_id, call)
        frame = self._frame(size)
        frame.response.responses.add(call_id=call_id).event.CopyFrom(event)
        self._wake()
        if event.HasField("completed"):
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            frame.written.append(written)
            await written

    def _frame(self, size: int) -> _Frame:
        """The frame that the next response of `size` bytes goes into."""
        if not self._frames or self._frames[-1].size + size > _FRAME_BYTES:
            self._frames.append(_Frame())
        self._frames[-1].size += size
        return self._frames[-1]

    async def _say_when_leaving(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._frame(0).response.leaving = True
        self._wake()

    def _wake(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
