"""Wrong messages to every method of every gRPC service."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from asahi.auth.v1 import auth_pb2
from asahi.billing.v1 import alerts_pb2, analytics_pb2, billing_pb2, prices_pb2, reconciliation_pb2
from asahi.cache.v1 import cache_pb2
from asahi.inference.v1 import inference_pb2
from asahi.router.v1 import router_pb2
from tests.hostile.http_bodies import Outcome
from tests.hostile.mutations import message_of, scrambled
from tests.installation import Organization

_FILES = {
    "auth": (auth_pb2,),
    "billing": (alerts_pb2, analytics_pb2, billing_pb2, prices_pb2, reconciliation_pb2),
    "cache": (cache_pb2,),
    "router": (router_pb2,),
    "edge": (inference_pb2,),
}
_TIMEOUT_S = 20.0
_STREAM_S = 0.2
_AT_ONCE = 8
_OWN = "Internal error from Core"
"""What gRPC says here, not the server, when a call ended while a message was being sent."""
_FAULTY = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every method, with its process."""
    for process, files in _FILES.items():
        for file in files:
            for service in file.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    yield process, method


async def send_wrongly(organization: Organization, numbers: Iterable[int], seed: int) -> Outcome:
    """Sends these calls; INTERNAL, UNKNOWN and DATA_LOSS are faults, and a process that is gone."""
    outcome = Outcome()
    every, left = list(methods()), iter(numbers)
    ports = {name: organization.installation[name].grpc_port for name in _FILES}
    channels = {
        name: grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)])
        for name, port in ports.items()
    }

    async def send() -> None:
        for number in left:
            random = Random(f"{seed}/{number}")
            process, method = random.choice(every)
            code, details = await _call(random, channels[process], method, organization)
            outcome.statuses[code.name] += 1
            if code in _FAULTY or code is grpc.StatusCode.UNAVAILABLE:
                path = f"{method.containing_service.full_name}/{method.name}"
                outcome.faults.append(f"{seed}/{number} {path}: {code.name} {details[:200]}")

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(send())
    for channel in channels.values():
        await channel.close()
    return outcome


def _body(random: Random, method: MethodDescriptor, organization: Organization) -> bytes:
    message: Any = message_of(random, method.input_type)
    if random.random() < 0.7 and hasattr(message, "organization_id"):
        message.organization_id = organization.id
    body: bytes = message.SerializeToString()
    return scrambled(random, body) if random.random() < 0.4 else body


def _as_it_is(body: bytes) -> bytes:
    return body


async def _call(
    random: Random, channel: grpc.aio.Channel, method: MethodDescriptor, organization: Organization
) -> tuple[grpc.StatusCode, str]:
    """How the call ended. Streams are left soon."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    bodies = [_body(random, method, organization) for _ in range(random.randint(1, 3))]
    metadata = [("authorization", f"Bearer {organization.key}")]

    async def several() -> AsyncIterator[bytes]:
        for body in bodies:
            yield body
        await asyncio.sleep(_STREAM_S)

    try:
        if method.client_streaming:
            call: Any = channel.stream_stream(path, _as_it_is)(several(), timeout=_STREAM_S, metadata=metadata)
        elif method.server_streaming:
            call = channel.unary_stream(path, _as_it_is)(bodies[0], timeout=_STREAM_S, metadata=metadata)
        else:
            await channel.unary_unary(path, _as_it_is)(bodies[0], timeout=_TIMEOUT_S, metadata=metadata)
            return grpc.StatusCode.OK, ""
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        details = error.details() or ""
        return (grpc.StatusCode.CANCELLED if details == _OWN else error.code()), details
    return grpc.StatusCode.OK, ""
