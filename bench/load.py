"""The load generator, a process of its own: asks over kept-alive connections, and reads the CPU clocks of the others.

`python -m bench.load` takes a `Load` as JSON on standard input and answers with a `Taken` on standard output. The HTTP
client reads no more than it must, so that a request costs it some 30 µs: it shares the machine with what it measures.
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import cast

import msgspec
import psutil
import uvloop

_LATEST_S = 30.0


class Load(msgspec.Struct, frozen=True):
    """What to ask for, how, and whom to watch meanwhile."""

    port: int
    path: str
    body: str
    """JSON, in which `@` stands for a text that makes the question another one."""
    authorization: str
    concurrency: int
    seconds: float
    """Length of the measured window."""
    warm_seconds: float
    distinct: int = 0
    """Questions that are asked again and again, each once before the window; 0: none is ever asked twice."""
    salt: str = ""
    """Makes the questions different from those of another load."""
    held: bool = False
    """Asks one streamed question a connection, opened at random phases, and watches it for gaps."""
    processes: dict[str, int] = {}
    """Process ids by name."""
    headers: dict[str, str] = {}
    """Sent besides."""
    authorizations: list[str] = []
    """Used in turn in place of `authorization`, if there are any."""
    per_second: float = 0.0
    """Questions a second in all, at even intervals; what is late is asked at once. 0: one after the other."""
    sampled: list[int] = []
    """Ids of processes that are told when the window begins and ends (bench.sampler)."""


class Taken(msgspec.Struct):
    """What was seen within the window. Times are in microseconds."""

    requests: int
    seconds: float
    cpu_us: dict[str, float]
    """CPU time by process."""
    latency_us: list[float]
    """Sorted: until the last byte."""
    first_us: list[float]
    """Sorted: until the first byte of the body."""
    chunks: int
    """Events of server-sent streams."""
    gaps_us: list[float]
    """Of held streams: the longest silence of each after its first event, sorted."""
    load_cpu_us: float
    """CPU time of the load generator itself."""


class Failed(Exception):
    """An answer other than 200."""


class _Connection(asyncio.Protocol):
    """Asks one question after the other; says how long each took."""

    def __init__(self, load: Load, questions: Iterator[bytes], seen: "_Seen") -> None:
        self._load = load
        self._questions = questions
        self._seen = seen
        self._transport: asyncio.WriteTransport
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""
        self._left = -1
        """Bytes of the body to come; -1: the head isn't complete; -2: chunked."""
        self._tail = b""
        self._asked = self._first = self._last = self._gap = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._ask_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(Failed(f"the connection was closed: {exc}"))

    def data_received(self, data: bytes) -> None:
        if self._left == -1:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self._head[end + 4 :]
            self._begin(self._head[:end])
        if not data or self.ended.done():
            return
        now = time.perf_counter()
        if not self._first:
            self._first = now
        elif self._load.held:
            self._gap = max(self._gap, now - self._last)
        self._last = now
        if self._left == -2:
            self._seen.chunks += data.count(b"data: ")
            self._tail = (self._tail + data)[-5:]
            if self._tail == b"0\r\n\r\n":
                self._end(now)
            return
        self._left -= len(data)
        if self._left == 0:
            self._end(now)

    def _begin(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(Failed(self._head[:2000].decode(errors="replace")))
            self._transport.close()
            return
        at = head.lower().find(b"content-length:")
        self._left = -2 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])

    def _ask_in_time(self) -> None:
        """Asks when it is this question's turn."""
        if not self._load.per_second:
            self._ask()
            return
        loop = asyncio.get_running_loop()
        due = self._seen.turn(loop.time(), 1 / self._load.per_second)
        loop.call_at(due, self._ask, due)

    def _ask(self, due: float = 0.0) -> None:
        question = next(self._questions, None)
        if question is None or self._seen.stopped:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._head, self._left, self._tail, self._first = b"", -1, b"", 0.0
        self._asked = due or time.perf_counter()  # the same clock; waiting for a connection is latency, too
        self._transport.write(question)

    def _end(self, now: float) -> None:
        self._seen.note(now - self._asked, self._first - self._asked, self._gap)
        self._ask_in_time()


class _Seen:
    """What all connections have seen so far."""

    def __init__(self) -> None:
        self.stopped = False
        self.chunks = 0
        self.latency_us: list[float] = []
        self.first_us: list[float] = []
        self.gaps_us: list[float] = []
        self._turn = 0.0

    def turn(self, now: float, interval_s: float) -> float:
        """When the next question is to be asked; who is more than a second late does not catch up."""
        self._turn = max(self._turn + interval_s, now - 1.0) if self._turn else now
        return self._turn

    def note(self, latency_s: float, first_s: float, gap_s: float) -> None:
        self.latency_us.append(latency_s * 1e6)
        self.first_us.append(first_s * 1e6)
        self.gaps_us.append(gap_s * 1e6)

    def forget(self) -> None:
        self.chunks = 0
        for figures in (self.latency_us, self.first_us, self.gaps_us):
            figures.clear()


class CpuClocks:
    """CPU time of processes, in steps of 10 ms."""

    def __init__(self, processes: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}

    def read(self) -> dict[str, float]:
        """Microseconds by process."""
        return {name: sum(one.cpu_times()[:2]) * 1e6 for name, one in self._processes.items()}


def _questions(load: Load) -> Iterator[bytes]:
    numbers = itertools.cycle(range(load.distinct)) if load.distinct else itertools.count()
    before, after = load.body.encode().split(b"@")
    headers = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items()).encode()
    keys = itertools.cycle(load.authorizations or [load.authorization])
    for number in numbers:
        body = before + f"{load.salt}-{number}".encode() + after
        yield (
            b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: %b\r\ncontent-type: application/json\r\n"
            b"%bcontent-length: %d\r\n\r\n%b" % (load.path.encode(), next(keys).encode(), headers, len(body), body)
        )


async def _connect(load: Load, questions: Iterator[bytes], seen: _Seen) -> _Connection:
    loop = asyncio.get_running_loop()
    _, one = await loop.create_connection(lambda: _Connection(load, questions, seen), "127.0.0.1", load.port)
    return one


async def _connections(load: Load, seen: _Seen) -> list[_Connection]:
    questions = _questions(load)
    opened: list[_Connection] = []
    for _ in range(load.concurrency):
        opened.append(await _connect(load, iter([next(questions)]) if load.held else questions, seen))
        if load.held:
            await asyncio.sleep(load.warm_seconds / load.concurrency)
    return opened


async def _run(load: Load) -> Taken:
    seen, clocks = _Seen(), CpuClocks({**load.processes, "": os.getpid()})
    if load.distinct:
        # Each once, so that what is measured finds the answers there.
        first = await _connect(load, itertools.islice(_questions(load), load.distinct), seen)
        await asyncio.wait_for(first.ended, _LATEST_S)
    connections = await _connections(load, seen)
    ended = asyncio.gather(*(one.ended for one in connections))
    await _until(ended, 0.0 if load.held else load.warm_seconds)
    if not load.held:
        seen.forget()
    _signal(load.sampled, signal.SIGUSR1)
    before_chunks, before, began = seen.chunks, clocks.read(), time.perf_counter()
    await _until(ended, load.seconds)
    after, took = clocks.read(), time.perf_counter() - began
    _signal(load.sampled, signal.SIGUSR2)
    chunks, requests = seen.chunks - before_chunks, len(seen.latency_us)
    seen.stopped = True
    latency_us, first_us = sorted(seen.latency_us), sorted(seen.first_us)
    await asyncio.wait_for(ended, _LATEST_S)
    cpu_us = {name: after[name] - before[name] for name in after}
    return Taken(
        requests=requests,
        seconds=took,
        load_cpu_us=cpu_us.pop(""),
        cpu_us=cpu_us,
        latency_us=sorted(seen.latency_us) if load.held else latency_us,
        first_us=sorted(seen.first_us) if load.held else first_us,
        chunks=chunks,
        gaps_us=sorted(seen.gaps_us) if load.held else [],
    )


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


async def _until(ended: "asyncio.Future[list[None]]", seconds: float) -> None:
    """Waits, unless a connection fails before."""
    await asyncio.wait([ended], timeout=seconds)
    if ended.done():
        ended.result()


def main() -> None:
    """Run one load."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    try:
        taken = uvloop.run(_run(load))
    except Failed as failure:
        sys.exit(f"the load on {load.path} failed: {failure}")
    told = memoryview(msgspec.json.encode(taken))
    while told:
        told = told[os.write(sys.stdout.fileno(), told) :]


if __name__ == "__main__":
    main()
