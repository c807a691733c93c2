"""The one server and the one channel, over a real connection: what travels, what is retried, how errors and ends go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, asynccontextmanager, closing, suppress
from typing import Any, TypeVar, cast

import grpc
import pytest
import structlog
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from structlog.typing import FilteringBoundLogger

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import (
    CacheServiceServicer,
    CacheServiceStub,
    add_CacheServiceServicer_to_server,
)
from asahi_core.context import NO_CALL, CallContext, current_call
from asahi_core.errors import (
    AsahiError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServiceUnavailable,
)
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.server import serve
from asahi_core.telemetry import Tracing

_GUARD_S = 120.0
_SERVICE = pb.DESCRIPTOR.services_by_name["CacheService"]
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_LOOKUP, _STORE, _FOLLOW = pb.LookupRequest(), pb.StoreRequest(), pb.FollowFlightRequest()
_CHECK, _HELLO = "/grpc.health.v1.Health/Check", pb.AttachRequest(hello=pb.AttachRequest.Hello(edge_id="e"))
_T = TypeVar("_T")


_MAX_CONCURRENT_STREAMS = 3
"""Its number among the settings of HTTP/2 (RFC 9113, 6.5.2)."""


class _Servicer(CacheServiceServicer):
    """Does what the test says; `Lookup` is not idempotent, `Store` is."""

    def __init__(self) -> None:
        self.calls: list[CallContext] = []
        self.failures: list[Exception] = []
        self.going = asyncio.Event()
        self.ended: list[str] = []
        self.peers: set[str] = set()
        """From where `GetStats` was called."""

    async def Lookup(self, request: pb.LookupRequest, context: Any) -> pb.LookupResponse:  # noqa: N802
        await self._behave()
        return pb.LookupResponse(lead_flight_id="f-1")

    async def Store(self, request: pb.StoreRequest, context: Any) -> pb.StoreResponse:  # noqa: N802
        await self._behave()
        return pb.StoreResponse()

    async def Invalidate(self, request: pb.InvalidateRequest, context: Any) -> pb.InvalidateResponse:  # noqa: N802
        self.calls.append(current_call.get())
        await self.going.wait()
        return pb.InvalidateResponse(dropped=1)

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:  # noqa: N802
        self.peers.add(context.peer())
        return pb.GetStatsResponse()

    async def BeginReplay(self, request: pb.BeginReplayRequest, context: Any) -> pb.BeginReplayResponse:  # noqa: N802
        return pb.BeginReplayResponse()

    async def EndReplay(self, request: pb.EndReplayRequest, context: Any) -> pb.EndReplayResponse:  # noqa: N802
        return pb.EndReplayResponse()

    async def EraseReplays(self, request: pb.EraseReplaysRequest, context: Any) -> pb.EraseReplaysResponse:  # noqa: N802
        return pb.EraseReplaysResponse()

    async def ReportHit(self, request: pb.ReportHitRequest, context: Any) -> pb.ReportHitResponse:  # noqa: N802
        return pb.ReportHitResponse()

    async def GetSemanticReport(  # noqa: N802
        self, request: pb.GetSemanticReportRequest, context: Any
    ) -> pb.GetSemanticReportResponse:
        return pb.GetSemanticReportResponse()

    async def EraseEvidence(self, request: pb.EraseEvidenceRequest, context: Any) -> pb.EraseEvidenceResponse:  # noqa: N802
        return pb.EraseEvidenceResponse()

    async def GetCondition(self, request: pb.GetConditionRequest, context: Any) -> pb.GetConditionResponse:  # noqa: N802
        return pb.GetConditionResponse()

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:  # noqa: N802
        return pb.EmbedResponse()

    async def CompareAnswers(  # noqa: N802
        self, request: pb.CompareAnswersRequest, context: Any
    ) -> pb.CompareAnswersResponse:
        return pb.CompareAnswersResponse()

    async def FollowFlight(  # noqa: N802
        self, request: pb.FollowFlightRequest, context: Any
    ) -> AsyncIterator[pb.FollowFlightResponse]:
        try:
            yield pb.FollowFlightResponse()
            await self._behave()
            await self.going.wait()
        finally:
            self.ended.append("FollowFlight")

    async def Attach(  # noqa: N802
        self, requests: AsyncIterator[pb.AttachRequest], context: Any
    ) -> AsyncIterator[pb.AttachResponse]:
        try:
            async for request in requests:
                yield pb.AttachResponse(wanted_flight_id=request.hello.edge_id or request.end.flight_id)
        finally:
            self.ended.append("Attach")

    async def _behave(self) -> None:
        self.calls.append(current_call.get())
        if self.failures:
            raise self.failures.pop(0)


class _Running:
    """A server and a channel to it."""

    def __init__(self, servicer: _Servicer, address: str, stop: asyncio.Event, serving: "asyncio.Task[None]") -> None:
        self.servicer = servicer
        self.address = address
        self.stop = stop
        self.serving = serving
        self.logged: list[MutableMapping[str, Any]] = []

    @asynccontextmanager
    async def channel(self, *, timeout_s: float = _GUARD_S) -> AsyncIterator[ServiceChannel]:
        async with ServiceChannel("cache", self.address, _SERVICE, timeout_s=timeout_s) as channel:
            yield channel


@asynccontextmanager
async def _running(**settings: float | None) -> AsyncIterator[_Running]:
    servicer, stop = _Servicer(), asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    logged: list[MutableMapping[str, Any]] = []

    def hear(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        logged.append(event)
        if event["event"] == "serving":
            address.set_result(event["address"])
        return event

    wrapper = structlog.make_filtering_bound_logger(0)
    log = structlog.wrap_logger(structlog.testing.CapturingLogger(), [hear], wrapper_class=wrapper)
    serving = asyncio.create_task(
        serve(
            "127.0.0.1:0",
            [lambda server: add_CacheServiceServicer_to_server(servicer, server)],
            stop=stop,
            grace_s=_GUARD_S,
            tracing=Tracing("cache", "", 0.0),
            log=cast(FilteringBoundLogger, log),
            **cast(dict[str, Any], settings),
        )
    )
    running = _Running(servicer, await asyncio.wait_for(address, _GUARD_S), stop, serving)
    running.logged = logged
    token = current_call.set(NO_CALL)
    try:
        yield running
    finally:
        current_call.reset(token)
        servicer.going.set()
        stop.set()
        await asyncio.wait_for(serving, _GUARD_S)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_GUARD_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


async def test_the_id_the_trace_and_what_is_left_of_the_deadline_travel() -> None:
    loop = asyncio.get_running_loop()
    async with _running() as running, running.channel() as channel:
        given = loop.time() + 20
        current_call.set(CallContext("r-1", _TRACE, given))
        await CacheServiceStub(channel).Lookup(_LOOKUP)
        (call,) = running.servicer.calls
    assert (call.request_id, call.traceparent) == ("r-1", _TRACE)
    assert call.deadline is not None
    assert call.deadline <= given + 0.5


async def test_outside_a_request_the_channels_own_limit_is_the_deadline() -> None:
    async with _running() as running, running.channel(timeout_s=20) as channel:
        await CacheServiceStub(channel).Lookup(_LOOKUP)
        await CacheServiceStub(channel).Lookup(_LOOKUP, timeout=10)
        own, asked = running.servicer.calls
    assert (own.request_id, own.traceparent) == ("", "")
    assert own.deadline is not None
    assert asked.deadline is not None
    assert asked.deadline < own.deadline


async def test_a_call_whose_time_is_out_is_not_made_and_one_that_runs_out_is_ended() -> None:
    async with _running() as running, running.channel() as channel:
        stub = CacheServiceStub(channel)
        current_call.set(CallContext(deadline=asyncio.get_running_loop().time()))
        with pytest.raises(DeadlineExceeded):
            await stub.Invalidate(pb.InvalidateRequest())
        assert running.servicer.calls == []
        current_call.set(NO_CALL)
        with pytest.raises(DeadlineExceeded) as caught:
            await stub.Invalidate(pb.InvalidateRequest(), timeout=0.1)
        assert "cache" in caught.value.message
        assert len(running.servicer.calls) == 1


async def test_calls_that_the_proto_calls_idempotent_are_retried_while_a_service_does_not_answer() -> None:
    async with _running() as running, running.channel() as channel:
        running.servicer.failures = [ServiceUnavailable("Starting.", retry_after_s=1.0) for _ in range(3)]
        await CacheServiceStub(channel).Store(_STORE)
        assert len(running.servicer.calls) == 4


async def test_other_calls_are_made_once() -> None:
    async with _running() as running, running.channel() as channel:
        running.servicer.failures = [ServiceUnavailable("Starting.", retry_after_s=1.0) for _ in range(3)]
        with pytest.raises(ServiceUnavailable):
            await CacheServiceStub(channel).Lookup(_LOOKUP)
        assert len(running.servicer.calls) == 1


@pytest.mark.parametrize("error", [NotFound("No such."), Overloaded("All are busy.", retry_after_s=2.0)])
async def test_an_idempotent_call_that_was_answered_with_another_error_is_not_retried(error: AsahiError) -> None:
    async with _running() as running, running.channel() as channel:
        running.servicer.failures = [error] * 4
        with pytest.raises(type(error)):
            await CacheServiceStub(channel).Store(_STORE)
        assert len(running.servicer.calls) == 1


async def test_an_error_arrives_as_it_was_raised_from_calls_and_streams() -> None:
    async with _running() as running, running.channel() as channel:
        stub = CacheServiceStub(channel)
        running.servicer.failures = [InvalidRequest("Too short.", param="fingerprint") for _ in range(2)]
        with pytest.raises(InvalidRequest) as of_a_call:
            await stub.Lookup(_LOOKUP)
        with pytest.raises(InvalidRequest) as of_a_stream:
            async for _ in stub.FollowFlight(_FOLLOW):
                pass
    for caught in (of_a_call, of_a_stream):
        assert (caught.value.message, caught.value.param) == ("Too short.", "fingerprint")


async def test_what_broke_inside_is_told_without_its_cause_and_logged_with_it() -> None:
    async with _running() as running, running.channel() as channel:
        running.servicer.failures = [RuntimeError("password is hunter2")]
        with pytest.raises(InternalError) as caught:
            await CacheServiceStub(channel).Lookup(_LOOKUP)
        assert "hunter2" not in caught.value.message
        (event,) = [event for event in running.logged if event["event"] == "call_failed"]
        assert event["method"] == "/asahi.cache.v1.CacheService/Lookup"
        assert isinstance(event["exc_info"], RuntimeError)


@pytest.mark.parametrize("method", ["Lookup", "FollowFlight", "Attach"])
async def test_bytes_that_are_no_message_are_the_callers_fault_and_not_logged_as_ours(method: str) -> None:
    async with _running() as running, grpc.aio.insecure_channel(running.address) as channel:
        path, bad = f"/asahi.cache.v1.CacheService/{method}", b"\xff"
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "Lookup": lambda: channel.unary_unary(path, bytes)(bad, timeout=_GUARD_S),
            "FollowFlight": lambda: _last_of(channel.unary_stream(path, bytes)(bad, timeout=_GUARD_S)),
            "Attach": lambda: _last_of(channel.stream_stream(path, bytes)(_once(bad), timeout=_GUARD_S)),
        }
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await calls[method]()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be decoded" in (refused.value.details() or "")


async def test_a_service_that_is_not_there_is_unavailable_by_name() -> None:
    async with _running() as running:
        address = running.address
    async with ServiceChannel("cache", address, _SERVICE, timeout_s=_GUARD_S) as channel:
        with pytest.raises(ServiceUnavailable) as caught:
            await CacheServiceStub(channel).Lookup(_LOOKUP)
    assert "cache" in caught.value.message
    assert address not in caught.value.message
    assert caught.value.retry_after_s is not None


async def test_a_stream_of_answers_closed_early_ends_at_the_server() -> None:
    async with _running() as running, running.channel() as channel:
        stream: Any = CacheServiceStub(channel).FollowFlight(_FOLLOW)
        async with aclosing(stream) as events:
            await anext(events)
        await _until(lambda: running.servicer.ended == ["FollowFlight"])


async def test_a_stream_both_ways_closed_early_ends_at_the_server() -> None:
    async def requests() -> AsyncIterator[pb.AttachRequest]:
        yield _HELLO
        await asyncio.Event().wait()

    async with _running() as running, running.channel() as channel:
        stream: Any = CacheServiceStub(channel).Attach(requests())
        async with aclosing(stream) as responses:
            assert (await anext(responses)).wanted_flight_id == "e"
        await _until(lambda: running.servicer.ended == ["Attach"])


async def test_a_caller_who_is_cancelled_cancels_the_call_at_the_server() -> None:
    async with _running() as running, running.channel() as channel:
        asking = asyncio.create_task(_last_of(CacheServiceStub(channel).FollowFlight(_FOLLOW)))
        await _until(lambda: len(running.servicer.calls) == 1)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await _until(lambda: running.servicer.ended == ["FollowFlight"])


async def test_an_open_stream_is_written_and_read_message_by_message() -> None:
    path, encode = "/asahi.cache.v1.CacheService/Attach", pb.AttachRequest.SerializeToString
    async with _running() as running, running.channel() as channel:
        stream = channel.open_stream(path, encode, pb.AttachResponse.FromString)
        await stream.write(_HELLO)
        assert (await stream.read()).wanted_flight_id == "e"
        await stream.write(pb.AttachRequest(end=pb.FlightEnd(flight_id="f")))
        assert (await stream.read()).wanted_flight_id == "f"
        stream.cancel()
        stream.cancel()
        await _until(lambda: running.servicer.ended == ["Attach"])
        with pytest.raises((AsahiError, asyncio.CancelledError)):
            await stream.read()


async def test_reflection_and_health_are_served() -> None:
    async with _running() as running, running.channel() as channel:
        assert await _health(channel) == HealthCheckResponse.SERVING
        assert await _health(channel, _SERVICE.full_name) == HealthCheckResponse.SERVING
        ask = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ServerReflectionRequest.SerializeToString,
            ServerReflectionResponse.FromString,
        )

        async def requests() -> AsyncIterator[ServerReflectionRequest]:
            yield ServerReflectionRequest(list_services="")

        answer = await _last_of(ask(requests()))
        assert _SERVICE.full_name in {service.name for service in answer.list_services_response.service}


async def test_a_service_told_to_stop_first_says_that_it_does_not_serve_and_finishes_what_is_under_way() -> None:
    async with _running() as running, running.channel() as channel:
        call = asyncio.create_task(_answer_to(CacheServiceStub(channel).Invalidate(pb.InvalidateRequest())))
        await _until(lambda: len(running.servicer.calls) == 1)
        async with grpc.aio.insecure_channel(running.address) as plain:
            watch = plain.unary_stream(
                "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
            )
            states: Any = watch(HealthCheckRequest(service=_SERVICE.full_name))
            assert (await states.read()).status == HealthCheckResponse.SERVING
            running.stop.set()
            assert (await asyncio.wait_for(states.read(), _GUARD_S)).status == HealthCheckResponse.NOT_SERVING
            states.cancel()
        assert not call.done()
        running.servicer.going.set()
        assert (await asyncio.wait_for(call, _GUARD_S)).dropped == 1
        await asyncio.wait_for(running.serving, _GUARD_S)


async def test_who_opens_calls_and_takes_them_back_is_told_how_many_count() -> None:
    async with _running() as running, asyncio.timeout(_GUARD_S):
        host, _, port = running.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with closing(writer):
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            head = await reader.readexactly(9)
            settings = await reader.readexactly(int.from_bytes(head[:3], "big"))
    values = {
        int.from_bytes(settings[at : at + 2], "big"): settings[at + 2 : at + 6] for at in range(0, len(settings), 6)
    }
    assert int.from_bytes(values[_MAX_CONCURRENT_STREAMS], "big") == 1000


@pytest.mark.parametrize("longest_call_s", [None, 0.1])
async def test_connections_are_renewed_and_only_calls_that_may_last_for_good_outlive_them(
    longest_call_s: float | None,
) -> None:
    going = asyncio.Event()

    async def hello_and_farewell() -> AsyncIterator[pb.AttachRequest]:
        yield _HELLO
        await going.wait()
        yield pb.AttachRequest(end=pb.FlightEnd(flight_id="f-1"))

    async with (
        _running(max_connection_age_s=0.3, longest_call_s=longest_call_s) as running,
        running.channel() as channel,
    ):
        stub = CacheServiceStub(channel)
        attached: Any = stub.Attach(hello_and_farewell())
        async with asyncio.timeout(_GUARD_S), aclosing(attached):
            assert (await anext(attached)).wanted_flight_id == "e"
            while len(running.servicer.peers) < 4:
                await stub.GetStats(pb.GetStatsRequest())
                await asyncio.sleep(0.05)
            going.set()
            if longest_call_s is None:
                assert (await anext(attached)).wanted_flight_id == "f-1"
            else:
                with pytest.raises(ServiceUnavailable):
                    await anext(attached)


async def test_a_replica_that_is_slow_to_greet_is_reached() -> None:
    async with (
        _running() as running,
        _slow_to_greet(running.address) as address,
        ServiceChannel("cache", address, _SERVICE, timeout_s=_GUARD_S) as channel,
    ):
        await asyncio.wait_for(channel.channel_ready(), _GUARD_S)
        assert await CacheServiceStub(channel).Store(_STORE) == pb.StoreResponse()


async def test_an_address_in_use_is_an_os_error_that_says_which() -> None:
    async with _running() as running:
        with pytest.raises(OSError, match=running.address):
            await serve(
                running.address,
                [],
                stop=asyncio.Event(),
                grace_s=0,
                tracing=Tracing("cache", "", 0.0),
                log=structlog.get_logger(),
            )


@asynccontextmanager
async def _slow_to_greet(target: str) -> AsyncIterator[str]:
    """An address that leads to `target`, and is silent for longer than it takes until a connection is tried again."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            while data := await reader.read(65536):
                writer.write(data)

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        host, port = target.split(":")
        onward_reader, onward = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pass_on(onward_reader, writer), pass_on(reader, onward))

    async with await asyncio.start_server(lead, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _health(channel: ServiceChannel, service: str = "") -> Any:
    check = channel.unary_unary(_CHECK, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)
    return (await check(HealthCheckRequest(service=service))).status


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _last_of(stream: Any) -> Any:
    last = None
    async for message in stream:
        last = message
    return last


async def _answer_to(call: Awaitable[_T]) -> _T:
    return await call
