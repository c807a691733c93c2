"""Unary and server-streaming calls over one long-lived bidirectional gRPC stream.

`MultiplexChannel` is a channel generated stubs accept, `MultiplexServicer` the one generic service that hands calls to
the handlers generated `add_*_to_server` functions register. Whatever waits when a write starts leaves in one message.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NoReturn, Self

import grpc
import transport_pb2 as pb
import transport_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]
STATUS_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class Outbox:
    """A bounded queue that is taken as a whole: the write coalescing."""

    def __init__(self, limit: int = 1024, linger: float = 0.0) -> None:
        self._limit = limit
        self._linger = linger
        self._waiting: list[Any] = []
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.frames = 0
        self.envelopes = 0

    async def put(self, envelope: Any) -> None:
        """Wait for room, then queue."""
        while len(self._waiting) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self.put_now(envelope)

    def put_now(self, envelope: Any) -> None:
        """Queue beyond the bound: for the one closing envelope of a call."""
        self._waiting.append(envelope)
        self._filled.set()

    async def drain_to(self, write: Callable[[Any], Any]) -> None:
        """Send all that waits as one frame, for ever."""
        while True:
            await self._filled.wait()
            if self._linger:
                await asyncio.sleep(self._linger)
            batch, self._waiting = self._waiting, []
            self._filled.clear()
            self._room.set()
            self.frames += 1
            self.envelopes += len(batch)
            await write(pb.Frame(envelopes=batch))


class MultiplexChannel(grpc.aio.Channel):
    """A channel over a channel: unary and server-streaming calls share one stream, the rest passes through."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._stream = rpc.MultiplexStub(channel).Connect()
        self._outbox = Outbox()
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[Any]] = {}
        self._last_id = 0
        self._tasks = [
            asyncio.create_task(self._outbox.drain_to(self._stream.write)),
            asyncio.create_task(self._receive()),
        ]

    async def _receive(self) -> None:
        async for frame in self._stream:
            for envelope in frame.envelopes:
                if (reply := self._replies.pop(envelope.call_id, None)) is not None:
                    if not reply.done():
                        reply.set_result(envelope)
                elif (queue := self._streams.get(envelope.call_id)) is not None:
                    queue.put_nowait(envelope)

    async def _start(self, method: str, payload: bytes, seconds: float | None, into: dict[int, Any], sink: Any) -> int:
        self._last_id += 1
        call_id = self._last_id
        into[call_id] = sink
        await self._outbox.put(
            pb.Envelope(
                call_id=call_id,
                kind=pb.KIND_START,
                method=method,
                payload=payload,
                timeout_ms=int((seconds or 0) * 1000),
            )
        )
        return call_id

    def _cancel(self, call_id: int) -> None:
        self._outbox.put_now(pb.Envelope(call_id=call_id, kind=pb.KIND_CANCEL))

    def unary_unary(  # noqa: D102
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(request: Any, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109
            reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            call_id = await self._start(method, request_serializer(request), timeout, self._replies, reply)
            try:
                envelope = await (reply if timeout is None else asyncio.wait_for(reply, timeout))
            except TimeoutError:
                raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded") from None
            finally:
                if self._replies.pop(call_id, None) is not None:
                    self._cancel(call_id)
            if envelope.status:
                raise _error(STATUS_BY_NUMBER[envelope.status], envelope.details)
            return response_deserializer(envelope.payload)

        return call

    def unary_stream(  # noqa: D102
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(request: Any, *, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109
            queue: asyncio.Queue[Any] = asyncio.Queue()
            call_id = await self._start(method, request_serializer(request), timeout, self._streams, queue)
            ended = False
            try:
                async with asyncio.timeout(timeout):
                    while (envelope := await queue.get()).kind == pb.KIND_MESSAGE:
                        yield response_deserializer(envelope.payload)
                ended = True
            except TimeoutError:
                raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded") from None
            finally:
                del self._streams[call_id]
                if not ended:
                    self._cancel(call_id)
            if envelope.status:
                raise _error(STATUS_BY_NUMBER[envelope.status], envelope.details)

        return call

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._channel.stream_unary(*args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._channel.stream_stream(*args, **kwargs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:  # noqa: D102
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stream.cancel()
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: D102
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:  # noqa: D102
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:  # noqa: D102
        await self._channel.channel_ready()


def _error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


def _forget(calls: dict[int, asyncio.Task[None]], call_id: int, _: asyncio.Task[None]) -> None:
    del calls[call_id]


class CallAborted(Exception):
    """A handler ended its call with a status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        self.details = details


class CallContext:
    """What a handler may ask of its call."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status."""
        raise CallAborted(code, details)


class MultiplexServicer(rpc.MultiplexServicer):
    """Hands the calls of one stream to registered handlers; is itself the `server` that generated code registers at."""

    def __init__(self, linger: float = 0.0) -> None:
        self._linger = linger
        self._handlers: dict[str, Any] = {}
        self.outboxes: list[Outbox] = []
        self.cancelled = 0

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Take the handlers of a generated `add_*_to_server`."""
        self._handlers.update({f"/{service}/{method}": handler for method, handler in handlers.items()})

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """Ignore the same handlers offered in their other form."""

    async def Connect(self, frames: AsyncIterator[Any], context: Context) -> None:  # noqa: N802
        """Serve one peer until it goes."""
        outbox = Outbox(linger=self._linger)
        self.outboxes.append(outbox)
        writer = asyncio.create_task(outbox.drain_to(context.write))
        calls: dict[int, asyncio.Task[None]] = {}
        try:
            async for frame in frames:
                for envelope in frame.envelopes:
                    if envelope.kind == pb.KIND_START:
                        task = asyncio.create_task(self._serve(envelope, outbox))
                        calls[envelope.call_id] = task
                        task.add_done_callback(partial(_forget, calls, envelope.call_id))
                    elif (running := calls.get(envelope.call_id)) is not None:
                        self.cancelled += 1
                        running.cancel()
        finally:
            self.outboxes.remove(outbox)
            for task in (writer, *calls.values()):
                task.cancel()

    async def _serve(self, start: Any, outbox: Outbox) -> None:
        end = pb.Envelope(call_id=start.call_id, kind=pb.KIND_END)
        try:
            async with asyncio.timeout(start.timeout_ms / 1000 if start.timeout_ms else None):
                handler = self._handlers[start.method]
                request = handler.request_deserializer(start.payload)
                if handler.response_streaming:
                    async for message in handler.unary_stream(request, CallContext()):
                        await outbox.put(
                            pb.Envelope(
                                call_id=start.call_id,
                                kind=pb.KIND_MESSAGE,
                                payload=handler.response_serializer(message),
                            )
                        )
                else:
                    end.payload = handler.response_serializer(await handler.unary_unary(request, CallContext()))
        except CallAborted as aborted:
            end.status, end.details = aborted.code.value[0], aborted.details
        except TimeoutError:
            end.status = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        except Exception as error:  # noqa: BLE001 - the caller must hear of any failure
            end.status, end.details = grpc.StatusCode.UNKNOWN.value[0], repr(error)
        await outbox.put(end)
