"""Probes of one container, as kubelet makes them, by HTTP and gRPC."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp
import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.k8s.rendering import Object


class Says(Protocol):
    """Is told whether the container is ready."""

    def __call__(self, *, ready: bool) -> None: ...


class Probes:
    """First startup alone, then readiness and liveness side by side."""

    def __init__(self, ip: str, container: Object, ports: Mapping[str, int], says: Says) -> None:
        self._ip = ip
        self._container = container
        self._ports = ports
        self._says = says

    async def run(self, kill: Callable[[], None]) -> None:
        """Probes until it is cancelled; `kill` is called where kubelet would end the container."""
        startup = self._container.get("startupProbe")
        if startup and not await self._within(startup):
            kill()
            return
        liveness, readiness = self._container.get("livenessProbe"), self._container.get("readinessProbe")
        async with asyncio.TaskGroup() as probing:
            if readiness:
                probing.create_task(self._tell_readiness(readiness))
            else:
                self._says(ready=True)
            if liveness:
                probing.create_task(self._watch(liveness, kill))

    async def _within(self, probe: Object) -> bool:
        for _ in range(probe["failureThreshold"]):
            if await self._asks(probe):
                return True
            await asyncio.sleep(probe["periodSeconds"])
        return False

    async def _tell_readiness(self, probe: Object) -> None:
        failures = 0
        while True:
            failures = 0 if await self._asks(probe) else failures + 1
            if failures == 0 or failures >= probe["failureThreshold"]:
                self._says(ready=failures == 0)
            await asyncio.sleep(probe["periodSeconds"])

    async def _watch(self, probe: Object, kill: Callable[[], None]) -> None:
        failures = 0
        while failures < probe["failureThreshold"]:
            await asyncio.sleep(probe["periodSeconds"])
            failures = 0 if await self._asks(probe) else failures + 1
        kill()

    async def _asks(self, probe: Object) -> bool:
        timeout = probe["timeoutSeconds"]
        if "httpGet" in probe:
            get = probe["httpGet"]
            port = self._ports.get(get["port"], get["port"])
            return await _http(f"{get.get('scheme', 'HTTP').lower()}://{self._ip}:{port}{get['path']}", timeout)
        return await _grpc(f"{self._ip}:{probe['grpc']['port']}", timeout)


async def _http(url: str, timeout_s: float) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.get(url, ssl=False) as answer,  # whose certificate it is, kubelet does not ask
        ):
            return 200 <= answer.status < 400
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _grpc(address: str, timeout_s: float) -> bool:
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, as kubelet has it
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = await check(HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)
