"""The methods of a service as plain values, however they are reached (gRPC or a multiplexed stream)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

Behaviour = Callable[[Any, Any], Awaitable[Message]] | Callable[[Any, Any], AsyncIterator[Message]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
AddServicer = Callable[[grpc.aio.Server], None]
"""`lambda server: add_XServicer_to_server(servicer, server)`"""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a servicer."""

    path: str
    """`/asahi.cache.v1.CacheService/Lookup`"""
    behaviour: Behaviour
    decode: Callable[[bytes], Message]
    encode: Callable[[Message], bytes]
    streams_requests: bool
    streams_responses: bool


def methods_of(add_servicer: AddServicer) -> list[Method]:
    """The methods that a generated `add_…Servicer_to_server` would register."""
    recorder = _Recorder()
    add_servicer(cast(grpc.aio.Server, recorder))
    return [_method(path, handler) for path, handler in recorder.handlers.items()]


def idempotent_methods(service: ServiceDescriptor) -> list[str]:
    """Names of the methods that the proto declares safe to repeat (`idempotency_level`)."""
    unknown = MethodOptions.IDEMPOTENCY_UNKNOWN
    return [method.name for method in service.methods if method.GetOptions().idempotency_level != unknown]


class _Recorder:
    """Stands in for a server while a generated function registers its handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Ignored: the same handlers come by name as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


def _method(path: str, handler: Handler) -> Method:
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return Method(
        path=path,
        behaviour=cast(Behaviour, behaviour),
        decode=cast(Callable[[bytes], Message], handler.request_deserializer),
        encode=cast(Callable[[Message], bytes], handler.response_serializer),
        streams_requests=bool(handler.request_streaming),
        streams_responses=bool(handler.response_streaming),
    )
