"""Redis killed, stopped (SIGSTOP), and slowed by 500 ms under two edges and two replicas of the cache that share it.

`python -m tests.redis_faults` prints, before, during and after each fault, what callers were told, how much came from
the cache, and how long answers and bare look-ups took; exit code 1 if a request failed, if nothing came from memory
while Redis was away, or if `/health` did not say so. Times mean something on a quiet machine alone.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import quantiles

import httpx2

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.rpc.channel import ServiceChannel
from tests.installation import Installation, Organization, running_installation
from tests.redis_server import RedisServer, redis_server
from tests.shared_flights import EDGES
from tests.slow_proxy import SlowProxy, slow_proxy

SLOWED_S = 0.5
FAULTS = ("killed", "stopped", "slowed")
_PER_SECOND = 20
_COMMON = 10
_SEEN_WITHIN_S = 15.0
_CACHE = pb.DESCRIPTOR.services_by_name["CacheService"]


@dataclass(slots=True)
class Seen:
    """What came of requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)
    """Of questions that were asked before: `x-asahi-cache`."""
    degraded: int = 0
    answers_ms: list[float] = field(default_factory=list)
    lookups_ms: list[float] = field(default_factory=list)
    """Of entries that there are not, at the replicas themselves."""

    def __str__(self) -> str:
        return (
            f"{dict(self.statuses)}, repeated {dict(self.cache)}, degraded {self.degraded}; "
            f"answers {_times(self.answers_ms)}; look-ups {_times(self.lookups_ms)}"
        )


@dataclass(slots=True)
class Stage:
    """Where it happens."""

    running: Installation
    organization: Organization
    server: RedisServer
    proxy: SlowProxy
    random: Random

    def break_it(self, fault: str) -> None:
        """Brings the fault about."""
        if fault == "killed":
            self.server.stop()
        elif fault == "stopped":
            self.server.freeze()
        else:
            self.proxy.delay_s = SLOWED_S / 2  # each way

    def mend(self, fault: str) -> None:
        """Ends it."""
        if fault == "killed":
            self.server.start()
        elif fault == "stopped":
            self.server.thaw()
        else:
            self.proxy.delay_s = 0.0

    def redis_health(self) -> str:
        """What `/health` of the first edge says of Redis."""
        components = httpx2.get(f"{self.running.url}/health", timeout=10.0).json()["components"]
        return str(components.get("redis", {"status": "healthy"})["status"])


async def observe(stage: Stage, seconds: float, while_true: Callable[[], bool] = lambda: True) -> Seen:
    """Asks at an even pace, every other time something that was asked before, for so long."""
    seen, loop = Seen(), asyncio.get_running_loop()
    clients = [stage.organization.async_client(edge) for edge in EDGES]
    channels = [
        ServiceChannel("cache", f"127.0.0.1:{stage.running[name].grpc_port}", _CACHE, timeout_s=10.0)
        for name in ("cache", "cache2")
    ]
    started = loop.time()
    async with asyncio.TaskGroup() as group:
        number = 0
        while loop.time() - started < seconds and while_true():
            repeated = number % 2 == 0
            prompt = f"Common {stage.random.randrange(_COMMON)}" if repeated else f"New {stage.random.getrandbits(60)}"
            group.create_task(_ask(clients[number // 2 % 2], prompt, seen, repeated=repeated))
            group.create_task(_look_up(channels[number % 2], stage, seen))
            number += 1
            await asyncio.sleep(max(0.0, started + number / _PER_SECOND - loop.time()))
    for client in clients:
        await client.aclose()
    for channel in channels:
        await channel.close()
    return seen


async def run_fault(stage: Stage, fault: str, seconds: float) -> list[str]:
    """One fault from before it to after it; what is wrong."""
    before = await observe(stage, seconds)
    await asyncio.to_thread(stage.break_it, fault)
    first = await observe(stage, 2.0)
    wrong = [] if await _until(stage, "degraded") else ["/health does not say that Redis is away"]
    during = await observe(stage, seconds)
    await asyncio.to_thread(stage.mend, fault)
    if not await _until(stage, "healthy"):
        wrong.append("/health does not say that Redis is back")
    after = await observe(stage, seconds)
    parts = {"before": before, "first 2 s": first, "during": during, "after": after}
    for name, seen in parts.items():
        print(f"{fault}, {name}: {seen}")
        if set(seen.statuses) != {200}:
            wrong.append(f"{name}: {dict(seen.statuses)}")
        if name != "first 2 s" and not any(told.startswith("hit") for told in seen.cache):
            wrong.append(f"{name}: nothing came from the cache")
    if not during.degraded or before.degraded * 20 > sum(before.statuses.values()):  # a busy machine makes some
        wrong.append(f"degraded was said {before.degraded} times before and {during.degraded} times during it")
    print(f"{fault}: {wrong or 'fine'}; load average {os.getloadavg()[0]:.1f}", flush=True)
    return wrong


async def _ask(client: httpx2.AsyncClient, prompt: str, seen: Seen, *, repeated: bool) -> None:
    started = time.perf_counter()
    answer = await client.post("/infer", json={"prompt": prompt})
    seen.answers_ms.append((time.perf_counter() - started) * 1000)
    seen.statuses[answer.status_code] += 1
    seen.degraded += "redis" in answer.headers.get("x-asahi-degraded", "")
    if repeated:
        seen.cache[answer.headers.get("x-asahi-cache", "none")] += 1


async def _look_up(channel: ServiceChannel, stage: Stage, seen: Seen) -> None:
    started = time.perf_counter()
    fingerprint = stage.random.getrandbits(256).to_bytes(32, "big")
    await CacheServiceStub(channel).Lookup(pb.LookupRequest(organization_id="org-probe", fingerprint=fingerprint))
    seen.lookups_ms.append((time.perf_counter() - started) * 1000)


async def _until(stage: Stage, status: str) -> bool:
    """Whether `/health` says so soon."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while await asyncio.to_thread(stage.redis_health) != status:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


def _times(milliseconds: list[float]) -> str:
    if len(milliseconds) < 2:
        return "none"
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.1f} p99 {cuts[98]:.1f} most {max(milliseconds):.1f} ms"


async def _run(stage: Stage, seconds: float) -> bool:
    wrong: list[str] = []
    for fault in FAULTS:
        wrong += await run_fault(stage, fault, seconds)
    return not wrong


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each part is")
    parser.add_argument("--seed", type=int, default=1, help="of the questions")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-faults-") as folder,
        redis_server() as server,
        slow_proxy(server.port) as proxy,
    ):
        url = f"redis://127.0.0.1:{proxy.port}/0"
        environment: Mapping[str, Mapping[str, str]] = {
            "cache": {"REDIS_URL": url},
            "edge": {"REDIS_URL": url, "ASAHI_NEAR_CACHE_BYTES": "0"},  # so that the replicas are asked
        }
        with running_installation(Path(folder), edges=2, caches=2, environment=environment) as running:
            stage = Stage(running, running.signup("Redis"), server, proxy, Random(options.seed))
            return 0 if asyncio.run(_run(stage, options.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
