"""The edge's standing connections to the router service: many completions on each, at a third of a call's own price.

One connection does while little is going on. More are opened as completions become many, so that these spread over the
router's replicas, and each is left after five seconds, so that replicas that are new get their share.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextvars import Context
from itertools import count

import grpc

from asahi.router.v1 import router_pb2 as pb
from asahi_core.context import current_call
from asahi_core.errors import AsahiError, Cancelled, DeadlineExceeded, ServiceUnavailable
from asahi_core.rpc.channel import OpenStream, ServiceChannel
from asahi_core.rpc.status import error_from_bytes, error_from_code

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"]
_ATTACH = f"/{SERVICE.full_name}/Attach"
_NO_LIMIT_S = 24 * 3600.0
_USED_FOR_S = 5.0
_MANY = 64
"""Completions on a connection that make another one worth while."""
_MOST = 8
_FRAME_BYTES = 256 * 1024
_TAKEN_BYTES = 128 * 1024
"""Half of what the router lets wait for a slow reader."""
_CANCEL_WITHIN_S = 5.0
_READ_SAID_AFTER_S = 0.1
"""That an end was read goes with the next message, or by itself after so long."""


class RouterLinks:
    """The connections, opened as they are needed."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._channel = channel
        self._links: list[_Link] = []

    def begin(self) -> "AttachedCompletion":
        """A completion, whose start is to be filled in."""
        now = asyncio.get_running_loop().time()
        for link in self._links:
            if link.opened_at + _USED_FOR_S <= now:
                link.leave()
        self._links = [link for link in self._links if not link.ended]
        usable = [link for link in self._links if not link.leaving]
        best = min(usable, key=lambda link: link.busy, default=None)
        if best is None or (best.busy >= _MANY and len(usable) < _MOST):
            best = _Link(self._channel, now)
            self._links.append(best)
        return AttachedCompletion(best)

    async def close(self) -> None:
        """Ends them all, and what is under way on them."""
        for link in self._links:
            await link.close()


class _Link:
    """One connection."""

    def __init__(self, channel: ServiceChannel, now: float) -> None:
        self.opened_at = now
        self.leaving = False
        """Whether nothing more is to be begun."""
        self.ended = False
        self._call_ids = count(1)
        self._completions: dict[int, AttachedCompletion] = {}
        self._frames: deque[pb.AttachRequest] = deque()
        self._read_call_ids: list[int] = []
        self._saying: asyncio.TimerHandle | None = None
        self._something: asyncio.Future[None] | None = None
        # The connection outlives the request that opens it: it must not have its deadline.
        apart = Context()
        self._stream: OpenStream = apart.run(
            channel.open_stream,
            _ATTACH,
            pb.AttachRequest.SerializeToString,
            pb.AttachResponse.FromString,
            timeout=_NO_LIMIT_S,
        )
        self._reading = asyncio.create_task(self._read(), context=apart)
        self._writing = asyncio.create_task(self._write(), context=apart)

    @property
    def busy(self) -> int:
        """Completions under way."""
        return len(self._completions)

    def add(self, completion: "AttachedCompletion") -> int:
        """The number of the completion here."""
        call_id = next(self._call_ids)
        self._completions[call_id] = completion
        return call_id

    def remove(self, call_id: int) -> None:
        """The completion has ended."""
        self._completions.pop(call_id, None)
        if self.leaving:
            self._wake()

    def has_read(self, call_id: int) -> None:
        """The end of the completion was read: what it cost is on this process's account from now on."""
        self._read_call_ids.append(call_id)
        if self._saying is None:
            self._saying = asyncio.get_running_loop().call_later(_READ_SAID_AFTER_S, self._say_read)

    def request(self, call_id: int) -> pb.AttachedRequest:
        """A message that is sent soon, to be filled in at once."""
        if not self._frames or self._frames[-1].ByteSize() > _FRAME_BYTES:
            self._frames.append(pb.AttachRequest())
        self._wake()
        return self._frames[-1].requests.add(call_id=call_id)

    def leave(self) -> None:
        """Begins nothing more; the connection ends with its last completion."""
        self.leaving = True
        self._wake()

    async def close(self) -> None:
        """Ends it at once."""
        if self._saying is not None:
            self._saying.cancel()
        self._reading.cancel()
        self._writing.cancel()
        self._stream.cancel()
        await asyncio.wait({self._reading, self._writing})

    async def _read(self) -> None:
        error: AsahiError = ServiceUnavailable("The router service ended the connection.", retry_after_s=1.0)
        try:
            while (frame := await self._stream.read()) is not None:
                for response in frame.responses:
                    completion = self._completions.get(response.call_id)
                    if completion is not None:
                        completion.take(response)
                if frame.leaving:
                    self.leave()
        except AsahiError as broken:
            error = broken
        finally:
            self.ended = self.leaving = True
            self._writing.cancel()
            for completion in self._completions.values():
                completion.fail(error)

    async def _write(self) -> None:
        try:
            while not (self.leaving and not self._completions and not self._frames):
                if self._frames:
                    await self._stream.write(self._with_read(self._frames.popleft()))
                else:
                    self._something = asyncio.get_running_loop().create_future()
                    await self._something
            if self._read_call_ids:
                await self._stream.write(self._with_read(pb.AttachRequest()))
            await self._stream.end_writing()
        except AsahiError:
            return  # it has ended, which the reader is told

    def _say_read(self) -> None:
        self._saying = None
        if self._read_call_ids and not self._frames:
            self._frames.append(pb.AttachRequest())
            self._wake()

    def _with_read(self, frame: pb.AttachRequest) -> pb.AttachRequest:
        frame.read_call_ids.extend(self._read_call_ids)
        self._read_call_ids.clear()
        return frame

    def _wake(self) -> None:
        if self._something is not None and not self._something.done():
            self._something.set_result(None)


class AttachedCompletion:
    """A completion under way on a connection."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[pb.CompleteResponse] = deque()
        self._error: AsahiError | None = None
        self._ended = False
        """Whether its last event or its error has come."""
        self._read = False
        """Whether whoever reads it has that."""
        self._taken = 0
        self._something: asyncio.Future[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._gives_up = False
        call = current_call.get()
        left_s = None if call.deadline is None else call.deadline - self._loop.time()
        if left_s is not None and left_s <= 0:
            raise DeadlineExceeded("The call's time ran out.")
        self._call_id = link.add(self)
        begin = link.request(self._call_id).begin
        begin.traceparent = call.traceparent
        begin.says_read = True
        if left_s is not None:
            begin.time_ms = left_s * 1000
            late = error_from_code(grpc.StatusCode.DEADLINE_EXCEEDED, "router")
            self._timers.append(self._loop.call_later(left_s, self.fail, late))
        self.start = begin.start

    async def events(self) -> AsyncGenerator[pb.CompleteResponse, None]:
        """What happens, in order; raises Cancelled if the router does not answer a `cancel` in time."""
        while True:
            while not self._arrived:
                if self._error is not None:
                    self._read = self._ended
                    raise self._error
                self._something = self._loop.create_future()
                await self._something
            event = self._arrived.popleft()
            self._read = event.HasField("completed")
            yield event
            if self._read:
                return
            self._taken += event.ByteSize()
            if self._taken >= _TAKEN_BYTES:
                self._link.request(self._call_id).taken_bytes = self._taken
                self._taken = 0

    def confirm(self, attempt: int) -> None:
        """Lets the announced attempt begin."""
        if not self._gives_up and not self._ended:
            self._link.request(self._call_id).go_ahead.attempt = attempt

    def cancel(self) -> None:
        """Gives it up: the provider call ends at once, its outcome still comes."""
        if not self._gives_up and not self._ended:
            self._gives_up = True
            self._link.request(self._call_id).cancel.SetInParent()
            error = Cancelled("The call was given up.")
            self._timers.append(self._loop.call_later(_CANCEL_WITHIN_S, self.fail, error))

    def close(self) -> None:
        """Ends it: unless its end was read, it looks to the router as if this process had vanished."""
        for timer in self._timers:
            timer.cancel()
        if not self._link.ended:
            if self._read:
                self._link.has_read(self._call_id)
            else:
                self._link.request(self._call_id).abandon.SetInParent()
        self._link.remove(self._call_id)

    def take(self, response: pb.AttachedResponse) -> None:
        """Something came from the router."""
        if response.HasField("failed_status"):
            self._ended = True
            self.fail(error_from_bytes(response.failed_status))
            return
        self._ended = response.event.HasField("completed")
        self._arrived.append(response.event)
        self._wake()

    def fail(self, error: AsahiError) -> None:
        """Nothing more will come."""
        if self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._something is not None and not self._something.done():
            self._something.set_result(None)
