"""Whether a program serves: asked in the way that its protocol has for it."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_TIMEOUT_S = 2.0
_PAUSE_S = 0.1
_CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


class Probe(Protocol):
    """Asks a program."""

    async def ready(self) -> bool:
        """Whether it serves now."""
        ...


@dataclass(frozen=True, slots=True)
class GrpcHealth:
    """Asks the standard gRPC health service."""

    address: str

    async def ready(self) -> bool:
        """Whether it answers SERVING."""
        async with grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            try:
                answer = await check(HealthCheckRequest(), timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == HealthCheckResponse.SERVING)


@dataclass(frozen=True, slots=True)
class HttpReady:
    """Asks for a page."""

    address: str
    path: str

    async def ready(self) -> bool:
        """Whether it answers 200."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return b" 200 " in await self._status_line()
        except (OSError, TimeoutError):
            return False

    async def _status_line(self) -> bytes:
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n\r\n".encode())
            return await reader.readline()
        finally:
            writer.close()


async def until_ready(probe: Probe) -> None:
    """Returns when `probe` says so."""
    while not await probe.ready():  # noqa: ASYNC110 - what is asked is another process
        await asyncio.sleep(_PAUSE_S)
