"""Runs calls at a concurrency and turns them into one sample: CPU per operation on both sides, latency, rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import quantiles


@dataclass
class Sample:
    """One case of one round; times in microseconds."""

    case: str
    client_us: float
    server_us: float
    p50_us: float
    p99_us: float
    per_second: float
    note: str = ""


async def sample(
    case: str,
    call: Callable[[], Awaitable[object]],
    cpu_of_server: Callable[[], Awaitable[int]],
    *,
    calls: int,
    concurrency: int,
    operations_per_call: int = 1,
) -> Sample:
    """Make the calls, `concurrency` at a time, after a tenth of them unmeasured."""
    latencies: list[float] = []

    async def run(count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            await call()
            latencies.append((time.perf_counter() - began) * 1e6)

    await asyncio.gather(*(run(max(1, calls // concurrency // 10)) for _ in range(concurrency)))
    latencies.clear()
    server = await cpu_of_server()
    client, began = time.process_time_ns(), time.perf_counter()
    await asyncio.gather(*(run(calls // concurrency) for _ in range(concurrency)))
    took, client = time.perf_counter() - began, time.process_time_ns() - client
    server = await cpu_of_server() - server
    operations = len(latencies) * operations_per_call
    cuts = quantiles(latencies, n=100)
    return Sample(
        case,
        client / operations / 1e3,
        server / operations / 1e3,
        cuts[49],
        cuts[98],
        operations / took,
    )
