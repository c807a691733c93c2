"""A trace through a running cache service, over an edge's standing connection: what it answers, what its process takes.

The day is squeezed into as many minutes as there are, and the time to live with it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import psutil

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from tests.installation import Process, free_port

_ORGANIZATION = "org"
_TURNS_PER_S = 20
_REPLY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Squeezed:
    """What came of a day in the service."""

    hits: int
    resident: list[int]
    """Bytes of its process at the end of each hour."""
    took_s: float


class _Connection:
    """An edge's standing connection, over which calls go together."""

    def __init__(self, stub: CacheServiceStub) -> None:
        self._outbox: asyncio.Queue[pb.AttachRequest] = asyncio.Queue()
        self._replies: dict[int, asyncio.Future[pb.AttachedReply]] = {}
        self._numbers = 0
        self._outbox.put_nowait(pb.AttachRequest(hello=pb.AttachRequest.Hello(edge_id="zipf")))
        self._stream = stub.Attach(self._said())
        self.listening = asyncio.create_task(self._listen())

    async def ask(self, calls: Sequence[pb.AttachedCall]) -> list[pb.AttachedReply]:
        """The answers, in the order of the calls. Raises TimeoutError."""
        replies = [asyncio.get_running_loop().create_future() for _ in calls]
        for call, reply in zip(calls, replies, strict=True):
            self._numbers += 1
            call.call_id = self._numbers
            self._replies[call.call_id] = reply
        self._outbox.put_nowait(pb.AttachRequest(several=[pb.AttachRequest(call=call) for call in calls]))
        async with asyncio.timeout(_REPLY_WITHIN_S):
            return [await reply for reply in replies]

    async def _said(self) -> AsyncIterator[pb.AttachRequest]:
        while True:
            yield await self._outbox.get()

    async def _listen(self) -> None:
        async for heard in self._stream:
            for one in heard.several or (heard,):
                if one.HasField("reply"):
                    self._replies.pop(one.reply.call_id).set_result(one.reply)


async def through_the_service(
    trace: Sequence[int], entry: Callable[[int], pb.CacheEntry], max_bytes: int, *, hours: int, seconds: float
) -> Squeezed:
    """The day in `seconds`, by a service of its own that has `max_bytes` for entries.

    Raises:
        TimeoutError: it does not answer.
    """
    with TemporaryDirectory(prefix="asahi-zipf-") as folder:
        port = free_port()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "ASAHI_DATA_DIR": folder,
            "ASAHI_GRPC_ADDRESS": f"127.0.0.1:{port}",
            "ASAHI_CACHE_MAX_BYTES": str(max_bytes),
            "ASAHI_CACHE_ORGANIZATION_SHARE": "1.0",
            "ASAHI_EMBEDDING_THREADS": "0",
        }
        service = Process("cache", "asahi_cache", environment, Path(folder) / "cache.log", 0, port)
        await asyncio.to_thread(service.start)
        try:
            await asyncio.to_thread(service.wait_ready)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                connection = _Connection(CacheServiceStub(channel))
                try:
                    return await _send(
                        connection, trace, entry, psutil.Process(service.pid), hours=hours, seconds=seconds
                    )
                finally:
                    connection.listening.cancel()
        finally:
            await asyncio.to_thread(service.stop)


async def _send(
    connection: _Connection,
    trace: Sequence[int],
    entry: Callable[[int], pb.CacheEntry],
    process: psutil.Process,
    *,
    hours: int,
    seconds: float,
) -> Squeezed:
    loop = asyncio.get_running_loop()
    started, hits, resident = loop.time(), 0, list[int]()
    together, hour = max(1, int(len(trace) / seconds / _TURNS_PER_S)), len(trace) // hours
    for at in range(0, len(trace), together):
        some = trace[at : at + together]
        replies = await connection.ask([pb.AttachedCall(lookup=_lookup(question)) for question in some])
        missed = dict.fromkeys(question for question, reply in zip(some, replies, strict=True) if not _is_hit(reply))
        hits += sum(map(_is_hit, replies))
        if missed:
            await connection.ask([pb.AttachedCall(store=_store(one, entry(one), int(seconds))) for one in missed])
        if at // hour != (at + together) // hour:
            resident.append(process.memory_info().rss)
        await asyncio.sleep(max(0.0, started + (at + together) / len(trace) * seconds - loop.time()))
    return Squeezed(hits, resident[:hours], loop.time() - started)


def _lookup(question: int) -> pb.LookupRequest:
    return pb.LookupRequest(organization_id=_ORGANIZATION, fingerprint=question.to_bytes(32, "big"))


def _store(question: int, entry: pb.CacheEntry, ttl_s: int) -> pb.StoreRequest:
    request = pb.StoreRequest(organization_id=_ORGANIZATION, fingerprint=question.to_bytes(32, "big"), entry=entry)
    request.ttl.FromSeconds(ttl_s)
    return request


def _is_hit(reply: pb.AttachedReply) -> bool:
    assert not reply.failed_status, reply
    return bool(reply.lookup.HasField("hit"))
