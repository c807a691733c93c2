"""The gRPC server that every service runs: health, reflection, errors, ids, traces, metrics, drain."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from structlog.typing import FilteringBoundLogger

from asahi_core.context import CallContext, current_call
from asahi_core.errors import AsahiError, InternalError, InvalidRequest
from asahi_core.rpc.certificates import CertificateFiles
from asahi_core.rpc.identity import ANONYMOUS, ServiceIdentity, interceptors, listen
from asahi_core.rpc.methods import AddServicer, Handler, Method, methods_of
from asahi_core.rpc.status import to_rpc_status
from asahi_core.telemetry import RPC_SERVER_SECONDS, Tracing

MAX_MESSAGE_BYTES = 40 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
    # Calls that were taken back count until they are dealt with: who opens and resets more than that is refused by
    # gRPC's core, for a hundredth of what a call costs (CVE-2023-44487). Callers of ours wait for their turn.
    ("grpc.max_concurrent_streams", 1000),
]


_LONGEST_CALL_S = 660.0

Context = grpc.aio.ServicerContext[Any, Any]
ReadMessage = Callable[[Context], Awaitable[bytes]]
"""Reads the message of a call that has one, once the call may have that; raises AsahiError if it may not."""


async def serve(
    address: str,
    servicers: Sequence[AddServicer],
    *,
    stop: asyncio.Event,
    grace_s: float,
    tracing: Tracing,
    log: FilteringBoundLogger,
    max_connection_age_s: float = 15,
    longest_call_s: float | None = _LONGEST_CALL_S,
    identity: ServiceIdentity = ANONYMOUS,
    public: bool = False,
    public_certificate: CertificateFiles | None = None,
    health_address: str = "",
    serving: asyncio.Event | None = None,
    read: ReadMessage | None = None,
) -> None:
    """Serves until `stop` is set, then says NOT_SERVING and lets calls under way finish for `grace_s` seconds.

    Connections are renewed after `max_connection_age_s`, so that callers find new replicas; calls under way then have
    `longest_call_s`. None: as long as they want, for a service whose callers keep a stream open for good.

    Callers prove which service they are as `identity` says, and may call what the table allows them; `public` servers
    know their callers by keys instead, and show them `public_certificate`; None: plain text. At `health_address`, if
    there is one, anybody may ask for health and nothing else: what probes containers has neither certificate nor token.
    `serving` is set once calls are taken. Messages of calls that have one are read by `read`, so that a call can be
    refused before gRPC takes up to 40 MB from it; None: by gRPC, at once.

    Raises:
        OSError: the address cannot be listened on, or is not loopback and callers would not have to prove themselves.
    """
    guards = interceptors(address, identity, public=public, log=log)
    server = grpc.aio.server(interceptors=guards, options=[*_OPTIONS, *_renewal(max_connection_age_s, longest_call_s)])
    methods = [method for add_servicer in servicers for method in methods_of(add_servicer)]
    names = sorted({method.path.split("/")[1] for method in methods})
    server.add_generic_rpc_handlers(tuple(_handlers(name, methods, tracing, log, read) for name in names))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        port = listen(server, address, public_certificate if public else identity.certificates, log)
    except RuntimeError as error:
        raise _cannot_listen(address) from error
    probed = _health_server(health_address, healthy) if health_address else None
    await server.start()
    if probed is not None:
        await probed.start()
    for name in ["", *names]:
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", address=f"{address.rpartition(':')[0]}:{port}", services=names)
    if serving is not None:
        serving.set()
    await stop.wait()
    log.info("stopping", grace_s=grace_s)
    await healthy.enter_graceful_shutdown()
    await server.stop(grace_s)
    if probed is not None:
        await probed.stop(None)


def _health_server(address: str, healthy: health.aio.HealthServicer) -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise _cannot_listen(address) from error
    return server


def _cannot_listen(address: str) -> OSError:
    return OSError(f"cannot listen on {address}: the port is in use or not permitted")


def _renewal(age_s: float, grace_s: float | None) -> list[tuple[str, int]]:
    grace = [("grpc.max_connection_age_grace_ms", int(grace_s * 1000))] if grace_s is not None else []
    return [("grpc.max_connection_age_ms", int(age_s * 1000)), *grace]


def _handlers(
    service: str, methods: list[Method], tracing: Tracing, log: FilteringBoundLogger, read: ReadMessage | None
) -> grpc.GenericRpcHandler:
    own = [method for method in methods if method.path.split("/")[1] == service]
    handlers = {method.path.split("/")[2]: _handler(method, tracing, log, read) for method in own}
    return grpc.method_handlers_generic_handler(service, handlers)


def _handler(method: Method, tracing: Tracing, log: FilteringBoundLogger, read: ReadMessage | None) -> Handler:
    kinds: dict[tuple[bool, bool], Callable[..., Handler]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    wrap = _guard_stream if method.streams_responses else _guard_unary
    decode = _decoding(method)
    if read is None or method.streams_requests:
        make = kinds[method.streams_requests, method.streams_responses]
        return make(
            wrap(method, _message, tracing, log), request_deserializer=decode, response_serializer=method.encode
        )

    async def taken(_requests: Any, context: Context) -> Any:
        return _decoded(decode(await read(context)))

    # To gRPC it is a method that takes a stream: it reads nothing of such a one by itself.
    make = kinds[True, method.streams_responses]
    return make(wrap(method, taken, tracing, log), request_deserializer=None, response_serializer=method.encode)


def _decoding(method: Method) -> Callable[[bytes], Message | None]:
    """Decodes messages; None: it is none of the method's, for which gRPC itself would blame the server."""

    def decode(body: bytes) -> Message | None:
        try:
            return method.decode(body)
        except DecodeError:
            return None

    return decode


def _decoded(request: Message | None) -> Message:
    if request is None:
        raise InvalidRequest("The message cannot be decoded; send one of the type that the method takes.")
    return request


async def _message(request: Any, _context: Context) -> Any:
    """The request, or an iterator over requests that raises at one that could not be decoded."""
    return _decoded(request) if request is None or isinstance(request, Message) else _all_decoded(request)


async def _all_decoded(requests: AsyncIterator[Message | None]) -> AsyncIterator[Message]:
    async for request in requests:
        yield _decoded(request)


_Take = Callable[[Any, Context], Awaitable[Any]]


def _guard_unary(
    method: Method, take: _Take, tracing: Tracing, log: FilteringBoundLogger
) -> Callable[[Any, Context], Awaitable[Message]]:
    behaviour = cast(Callable[[Any, Context], Awaitable[Message]], method.behaviour)

    async def answer(request: Any, context: Context) -> Message:
        try:
            with handled(method.path, _call_of(context), tracing, log):
                return await behaviour(await take(request, context), context)
        except AsahiError as error:
            await context.abort_with_status(to_rpc_status(error))
            raise AssertionError("abort raises") from error

    return answer


def _guard_stream(
    method: Method, take: _Take, tracing: Tracing, log: FilteringBoundLogger
) -> Callable[[Any, Context], AsyncIterator[Message]]:
    behaviour = cast(Callable[[Any, Context], AsyncIterator[Message]], method.behaviour)

    async def answer(request: Any, context: Context) -> AsyncIterator[Message]:
        try:
            with handled(method.path, _call_of(context), tracing, log):
                async for message in behaviour(await take(request, context), context):
                    yield message
        except AsahiError as error:
            await context.abort_with_status(to_rpc_status(error))

    return answer


@contextmanager
def handled(path: str, call: CallContext, tracing: Tracing, log: FilteringBoundLogger) -> Iterator[None]:
    """What surrounds the handling of every call, whichever way it came: its context, its span, its time.

    Raises:
        AsahiError: what the handling raised, as a caller may see it.
    """
    started, code = time.perf_counter(), "OK"
    try:
        with tracing.span(path, call.traceparent) as traceparent:
            current_call.set(CallContext(call.request_id, traceparent, call.deadline))
            yield
    except Exception as error:
        known = known_error(error, path, log)
        code = known.grpc_status
        if known is error:
            raise
        raise known from error
    finally:
        RPC_SERVER_SECONDS.labels(path, code).observe(time.perf_counter() - started)


def known_error(error: Exception, path: str, log: FilteringBoundLogger) -> AsahiError:
    """`error` as a caller may see it. What is no error of ours is logged with its traceback and told as internal."""
    if isinstance(error, AsahiError):
        return error
    log.error("call_failed", method=path, exc_info=error)
    return InternalError("Something failed inside Asahi; the request id finds it in the log.")


def _call_of(context: Context) -> CallContext:
    request_id = traceparent = ""
    for name, value in context.invocation_metadata() or ():
        if name == "x-asahi-request-id":
            request_id = str(value)
        elif name == "traceparent":
            traceparent = str(value)
    remaining = context.time_remaining()
    deadline = asyncio.get_running_loop().time() + remaining if remaining is not None else None
    return CallContext(request_id, traceparent, deadline)
