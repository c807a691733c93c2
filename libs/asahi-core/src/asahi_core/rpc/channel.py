"""The channel through which a service calls another: ids, traces, deadlines, retries and errors in one place.

Generated stubs take it like a channel of grpc's. Calls raise `AsahiError`s, never `AioRpcError`s. Retries happen only
for methods that their proto declares idempotent. grpc's own client interceptors are not used: each costs a task a call.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from asahi_core.context import current_call
from asahi_core.errors import DeadlineExceeded, ServiceUnavailable
from asahi_core.rpc.identity import ANONYMOUS, ServiceIdentity, open_channel, token_metadata
from asahi_core.rpc.methods import idempotent_methods
from asahi_core.rpc.server import MAX_MESSAGE_BYTES
from asahi_core.rpc.status import error_from_rpc

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]


class ServiceChannel(grpc.aio.Channel):
    """A channel to the service called `name` at `target` (`host:port`, or `dns:///host:port` for many replicas)."""

    def __init__(
        self,
        name: str,
        target: str,
        descriptor: ServiceDescriptor,
        *,
        timeout_s: float,
        identity: ServiceIdentity = ANONYMOUS,
    ) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._channel = open_channel(name, target, _options(descriptor), identity)
        self._token = token_metadata(identity)

    def unary_unary(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """A callable `await call(request, timeout=None)`."""
        inner = self._channel.unary_unary(method, request_serializer, response_deserializer)

        async def call(request: Message, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - grpc's own name
            limit, metadata = self._terms(timeout)
            try:
                return await inner(request, timeout=limit, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise error_from_rpc(error, self._name) from error

        return call

    def unary_stream(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """A callable `async for message in call(request, timeout=None)`; closing the iterator cancels the call."""
        inner = self._channel.unary_stream(method, request_serializer, response_deserializer)

        async def call(request: Message, *, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109
            limit, metadata = self._terms(timeout)
            stream = inner(request, timeout=limit, metadata=metadata)
            try:
                async for message in stream:
                    yield message
            except grpc.aio.AioRpcError as error:
                raise error_from_rpc(error, self._name) from error
            finally:
                stream.cancel()

        return call

    def stream_unary(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """A callable `await call(requests, timeout=None)`."""
        inner = self._channel.stream_unary(method, request_serializer, response_deserializer)

        async def call(requests: AsyncIterator[Message], *, timeout: float | None = None) -> Any:  # noqa: ASYNC109
            limit, metadata = self._terms(timeout)
            try:
                return await inner(requests, timeout=limit, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise error_from_rpc(error, self._name) from error

        return call

    def stream_stream(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """A callable `async for message in call(requests, timeout=None)`; closing the iterator cancels the call."""
        inner = self._channel.stream_stream(method, request_serializer, response_deserializer)

        async def call(requests: AsyncIterator[Message], *, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109
            limit, metadata = self._terms(timeout)
            stream = inner(requests, timeout=limit, metadata=metadata)
            try:
                async for message in stream:
                    yield message
            except grpc.aio.AioRpcError as error:
                raise error_from_rpc(error, self._name) from error
            finally:
                stream.cancel()

        return call

    def open_stream(self, method: str, encode: Encode, decode: Decode, *, timeout: float | None = None) -> "OpenStream":
        """A call of a method that streams both ways, written to message by message: no task reads an iterator."""
        limit, metadata = self._terms(timeout)
        return OpenStream(
            self._channel.stream_stream(method, encode, decode)(timeout=limit, metadata=metadata), self._name
        )

    def _terms(self, timeout_s: float | None) -> tuple[float, tuple[tuple[str, str], ...]]:
        """Seconds that the call may take, and its metadata."""
        call = current_call.get()
        limit = self._timeout_s if timeout_s is None else timeout_s
        if call.deadline is not None:
            limit = min(limit, call.deadline - asyncio.get_running_loop().time())
            if limit <= 0:
                raise DeadlineExceeded("The call's time ran out.")
        metadata = self._token
        if call.request_id:
            metadata += (("x-asahi-request-id", call.request_id),)
        if call.traceparent:
            metadata += (("traceparent", call.traceparent),)
        return limit, metadata

    async def close(self, grace: float | None = None) -> None:
        """Closes the connection; calls under way have `grace` seconds."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The connection's state."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the connection's state is another."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when the connection stands."""
        await self._channel.channel_ready()

    async def __aenter__(self) -> "ServiceChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class OpenStream:
    """A call under way that streams both ways. `cancel` ends it whatever happened before."""

    def __init__(self, call: Any, service: str) -> None:
        self._call = call
        self._service = service

    async def write(self, message: Message) -> None:
        """Sends `message`; raises what the call ended with."""
        try:
            await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, self._service) from error
        except asyncio.InvalidStateError as error:  # it ended, and how is what reading tells
            raise ServiceUnavailable(f"The {self._service} service has ended the call.", retry_after_s=1.0) from error

    async def read(self) -> Any:
        """The next message; None: the call ended well. Raises what it ended with otherwise."""
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, self._service) from error
        return None if message is grpc.aio.EOF else message

    async def end_writing(self) -> None:
        """Says that no message follows; what it ended with is what reading tells."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    def cancel(self) -> None:
        """Ends the call; a second time changes nothing."""
        self._call.cancel()


def _options(descriptor: ServiceDescriptor) -> list[tuple[str, Any]]:
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": descriptor.full_name, "method": name} for name in idempotent_methods(descriptor)],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Despite its name the time that a connection has to come about, handshakes and a busy replica included.
        ("grpc.min_reconnect_backoff_ms", 3_000),
        ("grpc.max_reconnect_backoff_ms", 300),
        # Else a name is asked for at most twice a minute, and who has lost all replicas waits that long for new ones.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
