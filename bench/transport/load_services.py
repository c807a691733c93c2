"""The calling side of part A: checks the stub over the multiplexed channel, then prints its samples as JSON."""

import asyncio
import json
import random
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from hashlib import blake2b, sha256

import grpc
import transport_pb2 as pb
import transport_pb2_grpc as rpc
import uvloop

from bench.transport.framing import FramedClient
from bench.transport.multiplex import MultiplexChannel
from bench.transport.sampling import Sample, sample

SMALL = pb.CallRequest(
    tenant="tenant-0123456789abcdef",
    model="gpt-4o-mini",
    fingerprint=bytes(32),
    body=bytes(230),
    reply_bytes=1024,
)
LARGE = pb.CallRequest(
    tenant="tenant-0123456789abcdef",
    model="gpt-4o-mini",
    fingerprint=bytes(32),
    body=bytes(4030),
    reply_bytes=4096,
)


async def status(call: Awaitable[object]) -> tuple[grpc.StatusCode, str | None] | None:
    """What a call failed with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return None


async def check(stub: rpc.PeerStub, usage: Callable[[], Awaitable[pb.UsageReply]]) -> None:
    """Hold a generated stub to what it does over plain gRPC: replies, statuses, deadlines, cancellation."""
    assert len((await stub.Call(SMALL)).body) == 1024
    assert [chunk.index async for chunk in stub.Chunks(pb.ChunksRequest(count=5))] == [0, 1, 2, 3, 4]
    indices: list[int] = []

    async def fail_midway() -> None:
        async for chunk in stub.Chunks(pb.ChunksRequest(count=5, fail_after=2)):
            indices.append(chunk.index)  # noqa: PERF401 - the chunks before the failure count

    assert await status(stub.Call(pb.CallRequest(model="absent"))) == (grpc.StatusCode.NOT_FOUND, "no such model")
    assert await status(fail_midway()) == (grpc.StatusCode.NOT_FOUND, "gone")
    assert indices == [0, 1]
    late = await status(stub.Call(pb.CallRequest(model="slow"), timeout=0.05))
    assert late is not None
    assert late[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.02)
    before = (await usage()).cancelled
    waiting = asyncio.ensure_future(stub.Call(pb.CallRequest(model="slow")))
    await asyncio.sleep(0.02)
    waiting.cancel()
    async with aclosing(stub.Chunks(pb.ChunksRequest(count=1000, pace_us=1000))) as chunks:
        await anext(chunks)
    await asyncio.sleep(0.02)
    assert (await usage()).cancelled == before + 2


def near_cache(hasher: Callable[[bytes], bytes]) -> float:
    """Microseconds per lookup by fingerprint of a one kilobyte body in a bounded LRU."""
    bodies = [random.randbytes(1024) for _ in range(1000)]
    entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict((hasher(body), (1e12, body)) for body in bodies)
    began = time.process_time_ns()
    for _ in range(20):
        for body in bodies:
            key = hasher(body)
            entry = entries.get(key)
            if entry is not None and entry[0] > time.monotonic():
                entries.move_to_end(key)
    return (time.process_time_ns() - began) / 20_000 / 1e3


def unary(stub: rpc.PeerStub, request: pb.CallRequest) -> Callable[[], Awaitable[object]]:
    """One call."""
    return lambda: stub.Call(request)


def unary_after_a_while(stub: rpc.PeerStub, request: pb.CallRequest) -> Callable[[], Awaitable[object]]:
    """One call after 0 to 10 ms: without, sixteen callers fall in step and every frame carries all of them."""

    async def call() -> None:
        await asyncio.sleep(random.random() * 0.01)
        await stub.Call(request)

    return call


def conversing(stub: rpc.PeerStub) -> Callable[[], Awaitable[object]]:
    """One call of one message out and three back."""

    async def call() -> None:
        conversation = stub.Converse()
        await conversation.write(pb.ChunksRequest(count=3))
        count = 0
        async for _ in conversation:
            count += 1
        assert count == 3

    return call


def conversing_in_one_go(stub: rpc.PeerStub) -> Callable[[], Awaitable[object]]:
    """The same where the caller says nothing after its first message."""

    async def call() -> None:
        count = 0
        async for _ in stub.Chunks(pb.ChunksRequest(count=3)):
            count += 1
        assert count == 3

    return call


def _with_frames(one: Sample, before: pb.UsageReply, after: pb.UsageReply) -> Sample:
    if frames := after.frames - before.frames:
        one.note = f"{(after.envelopes - before.envelopes) / frames:.1f}"
    return one


def streaming(stub: rpc.PeerStub, pace_us: int) -> Callable[[], Awaitable[object]]:
    """One flight of fifty chunks, begun at a random phase of the pace."""

    async def call() -> None:
        await asyncio.sleep(random.random() * pace_us / 1e6)
        count = 0
        async for _ in stub.Chunks(pb.ChunksRequest(count=50, pace_us=pace_us)):
            count += 1
        assert count == 50

    return call


async def main(directory: str, port: str, lingering_port: str, framed_port: str) -> list[Sample]:
    """Measure all cases once, in random order."""
    control = rpc.PeerStub(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

    async def usage() -> pb.UsageReply:
        return await control.Usage(pb.UsageRequest())

    async def cpu() -> int:
        return int((await usage()).cpu_ns)

    tcp, uds = f"127.0.0.1:{port}", f"unix:{directory}/peer.sock"
    lingering = MultiplexChannel(grpc.aio.insecure_channel(f"127.0.0.1:{lingering_port}"))
    stubs = {
        "unary, TCP": rpc.PeerStub(grpc.aio.insecure_channel(tcp)),
        "multiplexed, TCP": rpc.PeerStub(MultiplexChannel(grpc.aio.insecure_channel(tcp))),
        "unary, UDS": rpc.PeerStub(grpc.aio.insecure_channel(uds)),
        "multiplexed, UDS": rpc.PeerStub(MultiplexChannel(grpc.aio.insecure_channel(uds))),
    }
    await check(stubs["multiplexed, TCP"], usage)
    _, framed = await asyncio.get_running_loop().create_connection(FramedClient, "127.0.0.1", int(framed_port))
    assert isinstance(framed, FramedClient)
    cases: list[tuple[str, Callable[[], Awaitable[object]]]] = []
    for size, request in (("0.3/1 KB", SMALL), ("4/4 KB", LARGE)):
        cases += [(f"{name}, {size}", unary(stub, request)) for name, stub in stubs.items()]
        payload, reply_bytes = request.SerializeToString(), request.reply_bytes
        cases.append(
            (
                f"bare framing (reference), {size}",
                partial(framed.call, payload, reply_bytes),
            )
        )
    samples = [
        Sample(f"near cache, {name}", near_cache(hasher), 0, 0, 0, 0)
        for name, hasher in (
            ("sha256", lambda body: sha256(body).digest()),
            ("blake2b", lambda body: blake2b(body).digest()),
        )
    ]
    cases.append(("three replies, bidirectional call", conversing(stubs["unary, TCP"])))
    cases.append(("three replies, server-streaming call", conversing_in_one_go(stubs["unary, TCP"])))
    random.shuffle(cases)
    for name, call in cases:
        samples.append(await sample(f"{name}, c=1", call, cpu, calls=400, concurrency=1))
        samples.append(await sample(f"{name}, c=16", call, cpu, calls=2400, concurrency=16))
    for name in ("unary", "multiplexed"):
        before = await usage()
        call = unary_after_a_while(stubs[f"{name}, TCP"], SMALL)
        one = await sample(f"{name}, TCP, 0.3/1 KB, c=16 with pauses", call, cpu, calls=2400, concurrency=16)
        samples.append(_with_frames(one, before, await usage()))
    streams = [
        ("server-streaming", stubs["unary, TCP"]),
        ("multiplexed", stubs["multiplexed, TCP"]),
        ("multiplexed, 1 ms linger", rpc.PeerStub(lingering)),
    ]
    random.shuffle(streams)
    for name, stub in streams:
        for pace, pace_us in (("5 ms", 5000), ("unpaced", 0)):
            before = await usage()
            one = await sample(
                f"chunks, {name}, {pace}",
                streaming(stub, pace_us),
                cpu,
                calls=64,
                concurrency=16,
                operations_per_call=50,
            )
            samples.append(_with_frames(one, before, await usage()))
    await lingering.close()
    return samples


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
        print(json.dumps([asdict(one) for one in runner.run(main(*sys.argv[2:]))]))
