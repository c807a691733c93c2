"""The edge's standing connections to the router service, over real ones: sharing, breaks, leaving, giving up."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceServicer, add_RouterServiceServicer_to_server
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.context import CallContext, current_call
from asahi_core.errors import Cancelled, DeadlineExceeded, ModelNotFound, ServiceUnavailable
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.status import status_from_error
from asahi_edge.clients import router_link
from asahi_edge.clients.router import RouterClient
from asahi_edge.clients.router_link import SERVICE, AttachedCompletion
from services.edge.tests.flying import GUARD_S, soon, until

_DONE = pb.CompleteResponse(completed=pb.Completed())


@dataclass(eq=False)
class _Connection:
    """A connection as the router service sees it."""

    heard: list[pb.AttachedRequest] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    ended: bool = False
    saying: "asyncio.Queue[pb.AttachResponse | None]" = field(default_factory=asyncio.Queue)

    def kinds(self, call_id: int = 1) -> list[str | None]:
        return [request.WhichOneof("message") for request in self.heard if request.call_id == call_id]

    def say(self, *events: pb.CompleteResponse, call_id: int = 1) -> None:
        responses = [pb.AttachedResponse(call_id=call_id, event=event) for event in events]
        self.saying.put_nowait(pb.AttachResponse(responses=responses))

    def leave(self) -> None:
        self.saying.put_nowait(pb.AttachResponse(leaving=True))

    def break_off(self) -> None:
        self.saying.put_nowait(None)


class _Servicer(RouterServiceServicer):
    """A router service that says what the test says."""

    def __init__(self) -> None:
        self.connections: list[_Connection] = []

    async def Attach(  # noqa: N802
        self, requests: AsyncIterator[pb.AttachRequest], context: Any
    ) -> AsyncIterator[pb.AttachResponse]:
        connection = _Connection()
        self.connections.append(connection)
        listening = asyncio.create_task(self._listen(requests, connection))
        try:
            while (response := await connection.saying.get()) is not None:
                yield response
        finally:
            listening.cancel()

    async def _listen(self, requests: AsyncIterator[pb.AttachRequest], connection: _Connection) -> None:
        async for request in requests:
            connection.heard += request.requests
            connection.read += request.read_call_ids
        connection.ended = True
        connection.break_off()

    async def Complete(self, requests: Any, context: Any) -> AsyncIterator[pb.CompleteResponse]:  # noqa: N802
        raise NotImplementedError
        yield

    async def Decide(self, request: Any, context: Any) -> pb.DecideResponse:  # noqa: N802
        raise NotImplementedError

    async def CountTokens(self, request: Any, context: Any) -> pb.CountTokensResponse:  # noqa: N802
        raise NotImplementedError

    async def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        raise NotImplementedError

    async def RecordOutcome(self, request: Any, context: Any) -> pb.RecordOutcomeResponse:  # noqa: N802
        raise NotImplementedError

    async def CompareRouting(self, request: Any, context: Any) -> pb.CompareRoutingResponse:  # noqa: N802
        return pb.CompareRoutingResponse()

    async def EraseOutcomes(self, request: Any, context: Any) -> pb.EraseOutcomesResponse:  # noqa: N802
        raise NotImplementedError


class _Asked:
    """A completion that is read by a task of its own."""

    def __init__(self, opening: AbstractAsyncContextManager[AttachedCompletion]) -> None:
        self.kinds: list[str | None] = []
        self.completion: AttachedCompletion | None = None
        self.held = asyncio.Event()
        """Whether the next event may be taken."""
        self.held.set()
        self.task = asyncio.create_task(self._read(opening))

    async def _read(self, opening: AbstractAsyncContextManager[AttachedCompletion]) -> None:
        async with opening as self.completion:
            async for event in self.completion.events():
                self.kinds.append(event.WhichOneof("event"))
                await self.held.wait()


@dataclass(frozen=True)
class _Edge:
    servicer: _Servicer
    client: RouterClient

    def ask(self, request_id: str = "r-1") -> _Asked:
        return _Asked(self.client.complete(pb.Task(request_id=request_id), explain=False, stream=True, confirm=False))

    async def connection(self, number: int = 1) -> _Connection:
        await until(lambda: len(self.servicer.connections) >= number)
        return self.servicer.connections[number - 1]


@asynccontextmanager
async def _edge() -> AsyncGenerator[_Edge, None]:
    servicer, server = _Servicer(), grpc.aio.server()
    add_RouterServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with ServiceChannel("router", f"127.0.0.1:{port}", SERVICE, timeout_s=GUARD_S) as channel:
            client = RouterClient(channel)
            yield _Edge(servicer, client)
            await client.close()
    finally:
        await server.stop(0)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    token = current_call.set(CallContext("r-1", "", asyncio.get_running_loop().time() + seconds))
    try:
        yield
    finally:
        current_call.reset(token)


async def test_completions_share_one_connection_and_each_hears_its_own_events() -> None:
    async with _edge() as edge:
        first, second = edge.ask("r-1"), edge.ask("r-2")
        connection = await edge.connection()
        await until(lambda: connection.kinds(2) == ["begin"])
        assert [one.begin.start.task.request_id for one in connection.heard] == ["r-1", "r-2"]
        connection.say(pb.CompleteResponse(decision=pb.Decision()), _DONE, call_id=2)
        await soon(second.task)
        assert (first.kinds, second.kinds) == ([], ["decision", "completed"])
        connection.say(_DONE)
        await soon(first.task)
        assert connection.kinds() == ["begin"]
    assert len(edge.servicer.connections) == 1


async def test_an_error_is_raised_as_what_it_is_after_what_came_before_it() -> None:
    async with _edge() as edge:
        asked = edge.ask()
        connection = await edge.connection()
        connection.say(pb.CompleteResponse(attempt_failed=pb.AttemptOutcome()))
        failed = status_from_error(ModelNotFound("No such model.")).SerializeToString()
        responses = [pb.AttachedResponse(call_id=1, failed_status=failed)]
        connection.saying.put_nowait(pb.AttachResponse(responses=responses))
        with pytest.raises(ModelNotFound, match="No such model"):
            await soon(asked.task)
    assert asked.kinds == ["attempt_failed"]


async def test_a_connection_that_breaks_ends_what_is_under_way_and_the_next_completion_opens_another() -> None:
    async with _edge() as edge:
        asked = [edge.ask(), edge.ask()]
        (await edge.connection()).break_off()
        for one in asked:
            with pytest.raises(ServiceUnavailable, match="router service"):
                await soon(one.task)
        last = edge.ask()
        (await edge.connection(2)).say(_DONE)
        await soon(last.task)


async def test_without_a_router_the_caller_is_told_at_once() -> None:
    async with ServiceChannel("router", "127.0.0.1:1", SERVICE, timeout_s=GUARD_S) as channel:
        client = RouterClient(channel)
        asked = _Asked(client.complete(pb.Task(), explain=False, stream=False, confirm=False))
        with pytest.raises(ServiceUnavailable, match="The router service does not answer"):
            await soon(asked.task)
        await client.close()


async def test_a_router_that_leaves_ends_what_is_under_way_and_is_begun_nothing_more_at() -> None:
    async with _edge() as edge:
        old = edge.ask()
        leaving = await edge.connection()
        leaving.leave()
        leaving.say(pb.CompleteResponse(decision=pb.Decision()))
        await until(lambda: old.kinds == ["decision"])
        new = edge.ask()
        (await edge.connection(2)).say(_DONE)
        await soon(new.task)
        assert not leaving.ended
        leaving.say(_DONE)
        await soon(old.task)
        await until(lambda: leaving.ended)


async def test_a_connection_is_left_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_link, "_USED_FOR_S", 0.0)
    async with _edge() as edge:
        for number in (1, 2):
            asked = edge.ask()
            (await edge.connection(number)).say(_DONE)
            await soon(asked.task)
        await until(lambda: edge.servicer.connections[0].ended)


async def test_many_completions_spread_over_several_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_link, "_MANY", 2)
    monkeypatch.setattr(router_link, "_MOST", 3)
    async with _edge() as edge:
        asked = [edge.ask() for _ in range(9)]
        await until(lambda: sum(len(connection.heard) for connection in edge.servicer.connections) == 9)
        assert sorted(len(connection.heard) for connection in edge.servicer.connections) == [3, 3, 3]
        for connection in edge.servicer.connections:
            for call_id in (1, 2, 3):
                connection.say(_DONE, call_id=call_id)
        await soon(asyncio.gather(*(one.task for one in asked)))


async def test_what_is_given_up_still_hears_how_its_call_ended() -> None:
    async with _edge() as edge:
        asked = edge.ask()
        connection = await edge.connection()
        assert asked.completion is not None
        asked.completion.cancel()
        asked.completion.cancel()
        await until(lambda: connection.kinds() == ["begin", "cancel"])
        connection.say(pb.CompleteResponse(attempt_failed=pb.AttemptOutcome()))
        failed = status_from_error(Cancelled("Given up.")).SerializeToString()
        responses = [pb.AttachedResponse(call_id=1, failed_status=failed)]
        connection.saying.put_nowait(pb.AttachResponse(responses=responses))
        with pytest.raises(Cancelled, match="Given up"):
            await soon(asked.task)
    assert asked.kinds == ["attempt_failed"]


async def test_a_router_that_does_not_answer_a_cancel_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_link, "_CANCEL_WITHIN_S", 0.02)
    async with _edge() as edge:
        asked = edge.ask()
        connection = await edge.connection()
        assert asked.completion is not None
        asked.completion.cancel()
        with pytest.raises(Cancelled):
            await soon(asked.task)
        await until(lambda: connection.kinds() == ["begin", "cancel", "abandon"])


async def test_leaving_early_without_giving_up_is_told_as_what_it_is() -> None:
    async with _edge() as edge:
        asked = edge.ask()
        connection = await edge.connection()
        asked.task.cancel()
        await until(lambda: connection.kinds() == ["begin", "abandon"])


async def test_the_router_is_told_which_ends_were_read_with_the_next_message_or_after_a_while() -> None:
    async with _edge() as edge:
        asked = [edge.ask(), edge.ask()]
        connection = await edge.connection()
        connection.say(_DONE)
        await soon(asked[0].task)
        edge.ask()
        await until(lambda: connection.kinds(3) == ["begin"])
        assert connection.read == [1]
        connection.say(_DONE, call_id=2)
        await soon(asked[1].task)
        await until(lambda: connection.read == [1, 2])


async def test_an_old_connection_tells_of_the_last_end_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_link, "_READ_SAID_AFTER_S", 3600.0)
    async with _edge() as edge:
        asked = edge.ask()
        connection = await edge.connection()
        connection.leave()
        connection.say(_DONE)
        await soon(asked.task)
        await until(lambda: connection.ended)
        assert connection.read == [1]


async def test_an_end_that_came_and_was_not_read_is_left_to_the_router() -> None:
    async with _edge() as edge:
        asked = edge.ask()
        asked.held.clear()
        connection = await edge.connection()
        connection.say(pb.CompleteResponse(decision=pb.Decision()), _DONE)
        await until(lambda: asked.kinds == ["decision"])
        asked.task.cancel()
        await until(lambda: connection.kinds() == ["begin", "abandon"])
        assert connection.read == []


async def test_the_callers_time_goes_along_and_is_kept_here_too() -> None:
    async with _edge() as edge:
        with _time_limit(1.0):
            asked = edge.ask()
        connection = await edge.connection()
        await until(lambda: bool(connection.heard))
        assert 0 < connection.heard[0].begin.time_ms <= 1000
        with pytest.raises(DeadlineExceeded):
            await soon(asked.task)
        with _time_limit(-1), pytest.raises(DeadlineExceeded, match="ran out"):
            await soon(edge.ask().task)


async def test_the_router_is_told_what_was_taken_when_it_is_much() -> None:
    piece = pb.CompleteResponse(delta=AnswerDelta(text="x" * 50_000))
    async with _edge() as edge:
        asked = edge.ask()
        asked.held.clear()
        connection = await edge.connection()
        connection.say(*[piece] * 5)
        await until(lambda: len(asked.kinds) == 1)
        assert connection.kinds() == ["begin"]
        asked.held.set()
        await until(lambda: connection.kinds() == ["begin", "taken_bytes"])
        assert connection.heard[-1].taken_bytes == 3 * piece.ByteSize()
        connection.say(_DONE)
        await soon(asked.task)
