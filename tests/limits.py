"""Rate limits of two edges and one Redis, asked evenly at five times the limit; then without Redis, then with it again.

`python -m tests.limits` prints how many were admitted in any 60 consecutive whole seconds of Redis's clock, and what
requests waited for; exit code 1 if that is more than the limit, less than 99 % of it, or more than the edges' limits
together while they are alone, or if a request failed.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from redis.asyncio import Redis

from tests.installation import Installation, Organization, running_installation
from tests.redis_server import RedisServer, redis_server

EDGES = ("edge", "edge2")
_WINDOW_S = 60
_TIMES = 5
_LEAST = 0.99
_EXPECTED = {200, 429}


@dataclass(slots=True)
class Asked:
    """What came of requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    admitted_at: list[float] = field(default_factory=list)
    """Unix time of each answer that was not refused."""
    slowest_ms: float = 0.0
    degraded: int = 0

    def note(self, answer: httpx2.Response, seconds: float) -> None:
        """Adds one answer."""
        self.statuses[answer.status_code] += 1
        self.slowest_ms = max(self.slowest_ms, seconds * 1000)
        self.degraded += "redis" in answer.headers.get("x-asahi-degraded", "")
        if answer.status_code == 200:
            self.admitted_at.append(time.time())

    @property
    def failures(self) -> int:
        """Answers that are neither an answer nor a refusal by the limit."""
        return sum(count for status, count in self.statuses.items() if status not in _EXPECTED)


def set_limit(organization: Organization, requests_per_minute: int) -> None:
    """Limits the organisation's requests a minute."""
    with organization.client() as client:
        body = {"rate_limits": {"requests_per_minute": requests_per_minute}}
        answer = client.post(f"/governance/policies/{organization.id}", json=body)
    assert answer.status_code == 200, answer.text


async def ask_evenly(organization: Organization, per_second: float, seconds: float) -> Asked:
    """Asks the edges in turn at an even pace; identical questions, so that answers come from the cache."""
    asked = Asked()
    loop = asyncio.get_running_loop()
    clients = [organization.async_client(edge) for edge in EDGES]

    async def ask(client: httpx2.AsyncClient) -> None:
        started = loop.time()
        answer = await client.post("/infer", json={"prompt": "What is 6 times 7?"})
        asked.note(answer, loop.time() - started)

    started = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, started + number / per_second - loop.time()))
            group.create_task(ask(clients[number % len(clients)]))
    for client in clients:
        await client.aclose()
    return asked


async def watch_redis(server: RedisServer, organization: Organization, admitted: dict[int, int]) -> None:
    """Fills `admitted`, by whole second of Redis's clock, from what Redis counts; until cancelled."""
    async with Redis.from_url(server.url) as client:
        while True:
            counts = await client.hgetall(f"asahi:limits:{{{organization.id}}}:o:r")
            admitted.update((int(second), int(count)) for second, count in counts.items())
            await asyncio.sleep(1)


def sums_of_60(admitted: Mapping[int, int], first: int, last: int) -> list[int]:
    """How many were admitted in each 60 consecutive whole seconds from `first` to `last`, both inclusive."""
    return [
        sum(admitted.get(second, 0) for second in range(start, start + _WINDOW_S))
        for start in range(first, last - _WINDOW_S + 2)
    ]


def most_in_59_s(times: Sequence[float]) -> int:
    """The most of `times` that lie within 59 s: those are in 60 consecutive whole seconds of any clock."""
    most, oldest = 0, 0
    ordered = sorted(times)
    for index, at in enumerate(ordered):
        while at - ordered[oldest] > _WINDOW_S - 1:
            oldest += 1
        most = max(most, index - oldest + 1)
    return most


def limited_environment(server: RedisServer) -> dict[str, dict[str, str]]:
    """What edges need to share their limits."""
    return {"edge": {"REDIS_URL": server.url}}


async def _exact(server: RedisServer, organization: Organization, limit: int, seconds: int, what: str) -> bool:
    """Whether the limit is kept and used while Redis answers."""
    admitted: dict[int, int] = {}
    watching = asyncio.create_task(watch_redis(server, organization, admitted))
    first = int(time.time()) + 1  # the server runs on this machine: its clock is this one
    asked = await ask_evenly(organization, _TIMES * limit / _WINDOW_S, seconds)
    last = int(time.time()) - 2
    await asyncio.sleep(2)
    watching.cancel()
    sums = sums_of_60(admitted, first, last)
    fine = max(sums) <= limit and min(sums) >= _LEAST * limit and not asked.failures and not asked.degraded
    print(
        f"{what}: {len(sums)} windows of 60 s, admitted {min(sums)} to {max(sums)} of {limit}; "
        f"answers {dict(asked.statuses)}, slowest {asked.slowest_ms:.0f} ms, degraded {asked.degraded}; "
        f"{'fine' if fine else 'WRONG'}"
    )
    return fine


async def _alone(server: RedisServer, organization: Organization, limit: int, seconds: int) -> bool:
    """Whether the edges go on within their own limits while Redis is gone, and after it came back."""
    per_second = _TIMES * limit / _WINDOW_S
    asking = asyncio.create_task(ask_evenly(organization, per_second, 2 * seconds))
    await asyncio.sleep(seconds / 4)
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)
    asked = await asking
    most = most_in_59_s(asked.admitted_at)
    fine = most <= len(EDGES) * limit and not asked.failures and asked.degraded > 0
    print(
        f"Redis stopped for {seconds} s and started again: at most {most} admitted in 59 s, "
        f"{len(EDGES)} edges × {limit} allowed; answers {dict(asked.statuses)}, "
        f"slowest {asked.slowest_ms:.0f} ms, degraded {asked.degraded}; {'fine' if fine else 'WRONG'}"
    )
    return fine


async def _run(running: Installation, server: RedisServer, limit: int, seconds: int) -> bool:
    organization = running.signup()
    set_limit(organization, limit)
    await asyncio.sleep(1)
    return all(
        [
            await _exact(server, organization, limit, seconds, "shared"),
            await _alone(server, organization, limit, max(30, seconds // 3)),
            await _exact(server, organization, limit, seconds, "shared again"),
        ]
    )


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=600, help="requests a minute that are allowed")
    parser.add_argument("--seconds", type=int, default=150, help="how long each part is")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-limits-") as folder,
        redis_server() as server,
        running_installation(Path(folder), edges=len(EDGES), environment=limited_environment(server)) as running,
    ):
        return 0 if asyncio.run(_run(running, server, options.limit, options.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
