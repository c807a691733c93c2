"""Connections that mean no good, while somebody else is served: slow, endless, flooding, or just very many.

How soon somebody else is served is told by a witness, a process of its own. The rig makes way for it, and for what it
attacks (`make_way`): who attacks from elsewhere takes nothing of their processors either.
"""

import asyncio
import gzip
import json
import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

from tests.installation import Installation, Organization
from tests.witness import Heard, Witness, percentile

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LIMIT_BYTES = 128 * 1024 * 1024
"""By how much a process may grow under an attack, whatever the number of connections."""
_ALL_BODIES_BYTES = 64 * 1024 * 1024
_BODIES = {"endless bodies": 2, "large bodies": 6}
"""By how much besides where bodies are sent: bytes for each of those that all bodies may have together."""
_LARGE_BYTES = 6_000_000
_SAMPLE_S = 0.02
_NICE = 15
_MOST_TIMES = 3.0
QUESTION = '{"prompt": "What is 6 times 7?"}'
"""What somebody else asks: a cached answer."""


@dataclass(frozen=True, slots=True)
class Pressed:
    """What an attack did to others."""

    name: str
    connections: int
    calm: list[Heard]
    """What somebody else heard before and afterwards."""
    during: list[Heard]
    """What they heard meanwhile."""
    grown_bytes: int
    """By how much the process grew, at most."""

    @property
    def failed(self) -> int:
        """Requests of somebody else that were not answered meanwhile."""
        return sum(one.status != 200 for one in self.during)

    @property
    def times(self) -> float:
        """How many times as long as before and afterwards 99 % of the answers took at most."""
        return percentile(self.during, 0.99) / percentile(self.calm, 0.99)

    def __str__(self) -> str:
        calm, during = self.calm, self.during
        return (
            f"{self.name}, {self.connections} connections: "
            f"p50 of others {percentile(calm, 0.5):.1f} -> {percentile(during, 0.5):.1f} ms, "
            f"p99 {percentile(calm, 0.99):.1f} -> {percentile(during, 0.99):.1f} ms "
            f"({self.times:.1f} times{'' if self.times <= _MOST_TIMES else ', which is too long'}), "
            f"{self.failed} of {len(during)} not answered; memory +{self.grown_bytes / 1e6:.0f} MB"
        )

    @property
    def faults(self) -> list[str]:
        """What is wrong but for times, which need a quiet machine."""
        wrong = [f"{self.name}: {self.failed} requests of others were not answered"] if self.failed else []
        if self.grown_bytes > _LIMIT_BYTES + _BODIES.get(self.name, 0) * _ALL_BODIES_BYTES:
            wrong.append(f"{self.name}: the process grew by {self.grown_bytes / 1e6:.0f} MB")
        return wrong


_Speak = Callable[[asyncio.StreamWriter], Awaitable[None]]
Attack = Callable[[Organization, int], AsyncIterator[None]]


def make_way() -> None:
    """From now on this process takes what the others leave of the processors."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)


async def press(organization: Organization, other: Witness, name: str, connections: int, seconds: float) -> Pressed:
    """Runs an attack with so many connections; hears somebody else for so long before, meanwhile and afterwards."""
    attack, target = ATTACKS[name]
    process = psutil.Process(organization.installation[target].pid)
    calm, sizes = await _hear(other, process, seconds)
    at_rest = sizes[0]
    async with asynccontextmanager(attack)(organization, connections):
        during, sizes = await _hear(other, process, seconds)
    later, left = await _hear(other, process, seconds)
    return Pressed(name, connections, calm + later, during, max(*sizes, left[-1]) - at_rest)


async def _hear(other: Witness, process: psutil.Process, seconds: float) -> tuple[list[Heard], list[int]]:
    """What the witness hears, and the bytes of memory that the process has meanwhile."""
    listening = asyncio.create_task(other.listen(seconds))
    sizes = [process.memory_info().rss]
    while not listening.done():
        await asyncio.wait([listening], timeout=_SAMPLE_S)
        sizes.append(process.memory_info().rss)
    return listening.result(), sizes


@asynccontextmanager
async def _many(count: int, port: int, speak: _Speak) -> AsyncIterator[None]:
    """So many connections, each spoken to until it is closed or the attack ends; closed ones are opened again."""

    async def keep() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                reading = asyncio.create_task(_swallow(reader))
                try:
                    await speak(writer)
                    await reading
                finally:
                    reading.cancel()
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(keep()) for _ in range(count)]
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(64 * 1024):
        pass


def _head(organization: Organization, *more: str) -> bytes:
    lines = ("POST /infer HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {organization.key}", *more, "", "")
    return "\r\n".join(lines).encode()


async def _idle(organization: Organization, count: int) -> AsyncIterator[None]:
    """Connections that say nothing."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened: list[socket.socket] = []
    try:
        for number in range(count):
            opened.append(socket.create_connection(("127.0.0.1", organization.installation["edge"].http_port), 30))
            if number % 100 == 0:
                await asyncio.sleep(0)
        yield
    finally:
        for one in opened:
            one.close()


async def _slow_bodies(organization: Organization, count: int) -> AsyncIterator[None]:
    """Bodies of which a byte comes now and then."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(organization, "content-type: application/json", "content-length: 100000"))
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.5)

    async with _many(count, organization.installation["edge"].http_port, speak):
        yield


async def _endless_bodies(organization: Organization, count: int) -> AsyncIterator[None]:
    """Bodies in chunks that never end."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(organization, "content-type: application/json", "transfer-encoding: chunked"))
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with _many(count, organization.installation["edge"].http_port, speak):
        yield


async def _large_bodies(organization: Organization, count: int) -> AsyncIterator[None]:
    """Questions that are right, and large; many at once."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * (_LARGE_BYTES // 4)}}
    question = {"model": "gpt-6-luna", "max_tokens": 5, "messages": [{"role": "user", "content": [image]}]}
    body = json.dumps(question).encode()

    async def speak(writer: asyncio.StreamWriter) -> None:
        head = _head(organization, "content-type: application/json", f"content-length: {len(body)}")
        writer.write(head.replace(b"/infer", b"/v1/chat/completions"))
        for start in range(0, len(body), 0x10000):
            writer.write(body[start : start + 0x10000])
            await writer.drain()

    async with _many(count, organization.installation["edge"].http_port, speak):
        yield


async def _header_floods(organization: Organization, count: int) -> AsyncIterator[None]:
    """Headers that never end."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        number = 0
        while not writer.is_closing():
            number += 1
            writer.write(b"x-flood-%d: %b\r\n" % (number, b"y" * 1000))
            await writer.drain()
            await asyncio.sleep(0.001)

    async with _many(count, organization.installation["edge"].http_port, speak):
        yield


async def _bombs(organization: Organization, count: int) -> AsyncIterator[None]:
    """Small bodies that would be a gigabyte unpacked."""
    bomb = gzip.compress(gzip.compress(b" " * 2**26) * 16)

    async def speak(writer: asyncio.StreamWriter) -> None:
        size = f"content-length: {len(bomb)}"
        writer.write(_head(organization, "content-type: application/json", "content-encoding: gzip", size) + bomb)
        await writer.drain()
        await asyncio.sleep(0.2)

    async with _many(count, organization.installation["edge"].http_port, speak):
        yield


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _flood_of(frames: Callable[[int], bytes], process: str = "edge") -> Attack:
    """Connections to a process's gRPC port that send frames as fast as they are taken; `frames` of a round."""

    async def attack(organization: Organization, count: int) -> AsyncIterator[None]:
        async def speak(writer: asyncio.StreamWriter) -> None:
            writer.write(_HTTP2_PREFACE + _frame(4, 0, 0))
            number = 0
            while not writer.is_closing():
                writer.write(frames(number))
                number += 1
                await writer.drain()
                await asyncio.sleep(0.005)

        async with _many(count, organization.installation[process].grpc_port, speak):
            yield

    return attack


_REQUEST = b"\x83\x86\x41\x09127.0.0.1\x44\x02/x"
"""HPACK: POST, http, authority, path."""


def _pings(_: int) -> bytes:
    return _frame(6, 0, 0, b"flooding") * 50


def _settings(_: int) -> bytes:
    return _frame(4, 0, 0, b"\x00\x04\x00\x01\x00\x00") * 50


def _resets(number: int) -> bytes:
    """Requests that are taken back at once (CVE-2023-44487)."""
    streams = range(2 * 50 * number + 1, 2 * 50 * (number + 1), 2)
    return b"".join(_frame(1, 4, stream, _REQUEST) + _frame(3, 0, stream, b"\x00\x00\x00\x08") for stream in streams)


def _continuations(number: int) -> bytes:
    """One request whose headers never end (VU#421644)."""
    begin = _frame(1, 0, 1, _REQUEST) if number == 0 else b""
    return begin + _frame(9, 0, 1, b"\x00\x01a\x7f\x81\x07" + b"b" * 1000) * 10


ATTACKS: dict[str, tuple[Attack, str]] = {
    "idle connections": (_idle, "edge"),
    "slow bodies": (_slow_bodies, "edge"),
    "endless bodies": (_endless_bodies, "edge"),
    "large bodies": (_large_bodies, "edge"),
    "header floods": (_header_floods, "edge"),
    "compressed bombs": (_bombs, "edge"),
    "HTTP/2 pings": (_flood_of(_pings), "edge"),
    "HTTP/2 settings": (_flood_of(_settings), "edge"),
    "HTTP/2 rapid resets": (_flood_of(_resets), "edge"),
    "HTTP/2 endless headers": (_flood_of(_continuations), "edge"),
    "HTTP/2 settings at the router": (_flood_of(_settings, "router"), "router"),
    "HTTP/2 rapid resets at the router": (_flood_of(_resets, "router"), "router"),
    "HTTP/2 rapid resets at the cache": (_flood_of(_resets, "cache"), "cache"),
}
"""Each with the process whose memory is watched."""


def still_serves(installation: Installation) -> bool:
    """Whether every process of the installation runs."""
    return all(process.running for process in installation.processes.values())
