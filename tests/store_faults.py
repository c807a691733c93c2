"""What becomes of answers while a store behind the cache is broken, beside a replica that does without that store.

Both are asked in turn, at an even pace, before, during and after the fault. Three things are judged:

- what callers are told: everything is answered, exact answers still come from the cache, who is degraded says so, and
  what needs the store works before and after it and not meanwhile;
- how long one look-up waits for the store: no longer than it may, beyond the longest that one of the control took;
- whether p99 with the breaker open is as before: how much more it rose than the control's, with a 95 % interval of a
  bootstrap over seconds, in which both are drawn together, so that what slows the machine slows both. Where the
  interval reaches over the margin the machine was too busy to tell, and that is said too.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import quantiles
from typing import Protocol

import httpx2

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.errors import AsahiError
from asahi_core.rpc.channel import ServiceChannel
from tests.installation import Installation, Organization

FAULTS = ("killed", "stopped", "slowed")
SLOWED_S = 0.5
WAIT_MS = 50.0
"""Longest that a call may wait for a store."""
_MARGIN_MS, _MARGIN = 5.0, 0.25
"""By as much, or by such a part of what it was, p99 may rise and still be as before."""
_RESAMPLES = 400
_COMMON = 10
_SEEN_WITHIN_S = 15.0
_FIRST_S = 2.0
_CACHE = pb.DESCRIPTOR.services_by_name["CacheService"]


class Breakable(Protocol):
    """A store that can be broken."""

    def break_it(self, fault: str) -> None:
        """Brings one of `FAULTS` about."""
        ...

    def mend(self, fault: str) -> None:
        """Ends it."""
        ...


@dataclass(slots=True)
class Seen:
    """What came of requests at one side."""

    statuses: Counter[int] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    """Of questions that were asked before: `x-asahi-cache`."""
    degraded: int = 0
    failed_lookups: int = 0
    answers_ms: dict[int, list[float]] = field(default_factory=dict)
    """By the second in which they were asked for."""
    lookups_ms: dict[int, list[float]] = field(default_factory=dict)
    """Of entries that there are not, at the replicas themselves."""

    def __str__(self) -> str:
        answers, lookups = (_times(_all(times)) for times in (self.answers_ms, self.lookups_ms))
        return (
            f"{dict(self.statuses)}, repeated {dict(self.repeated)}, degraded {self.degraded}; "
            f"answers {answers}; look-ups {lookups}"
        )


@dataclass(frozen=True, slots=True)
class Side:
    """Edges, and the replicas of the cache that they are attached to."""

    edges: tuple[str, ...]
    caches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it happens."""

    running: Installation
    organization: Organization
    subject: Side
    control: Side
    store: Breakable
    part: str
    """What `/health` and `x-asahi-degraded` call it."""
    lookup: Callable[[bytes], pb.LookupRequest]
    """A look-up of this fingerprint that asks the store."""
    works: Callable[[], Awaitable[bool]]
    """Whether what needs the store works, tried once."""
    random: Random
    per_second: float


@dataclass(slots=True)
class Findings:
    """What a run found."""

    wrong: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: all is as it should be; 1: something is wrong; 2: the machine was too busy to tell."""
        return 1 if self.wrong else 2 if self.undecided else 0


@dataclass(frozen=True, slots=True)
class Rise:
    """By how many milliseconds more p99 rose at the subject than at the control, with its 95 % interval."""

    point: float
    low: float
    high: float
    margin: float

    @property
    def verdict(self) -> str:
        """`as before`, `worse`, or `undecided`."""
        return "as before" if self.high <= self.margin else "worse" if self.low > self.margin else "undecided"

    def __str__(self) -> str:
        return f"{self.point:+.1f} ms ({self.low:+.1f} to {self.high:+.1f}, margin {self.margin:.1f}): {self.verdict}"


Both = tuple[dict[int, list[float]], dict[int, list[float]]]
"""Times of subject and control, by second."""


def rise_of(before: Both, during: Both, random: Random) -> Rise:
    """How p99 changed from `before` to `during`."""
    rises = sorted(_rise(_resampled(before, random), _resampled(during, random)) for _ in range(_RESAMPLES))
    margin = max(_MARGIN_MS, _MARGIN * p99(_all(before[0])))
    point = _rise((_all(before[0]), _all(before[1])), (_all(during[0]), _all(during[1])))
    return Rise(point, rises[int(0.025 * _RESAMPLES)], rises[int(0.975 * _RESAMPLES)], margin)


def p99(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(times, n=100, method="inclusive")[98]


async def run(stage: Stage, seconds: float) -> Findings:
    """All faults, one after the other; each part of one takes so long."""
    findings, slowest_ms = Findings(), 0.0
    for fault in FAULTS:
        slowest_ms = await _run_fault(stage, fault, seconds, findings, slowest_ms)
    print(f"wrong: {findings.wrong or 'nothing'}; undecided: {findings.undecided or 'nothing'}")
    return findings


async def _run_fault(stage: Stage, fault: str, seconds: float, findings: Findings, slowest_ms: float) -> float:
    """One fault from before it to after it; the longest that the control took for a look-up until now."""
    wrong: list[str] = []
    if not await _soon(stage.works):
        wrong.append("what needs the store does not work before")
    before = await _observe(stage, seconds)
    await asyncio.to_thread(stage.store.break_it, fault)
    first = await _observe(stage, _FIRST_S)
    if not await _soon(lambda: _is(stage, "degraded")):
        wrong.append(f"/health does not say that {stage.part} is away")
    during = await _observe(stage, seconds)
    if await stage.works():
        wrong.append("what needs the store works without it")
    await asyncio.to_thread(stage.store.mend, fault)
    if not await _soon(lambda: _is(stage, "healthy")):
        wrong.append(f"/health does not say that {stage.part} is back")
    if not await _soon(stage.works):
        wrong.append("what needs the store does not work again")
    after = await _observe(stage, seconds)
    parts = {"before": before, "first 2 s": first, "during": during, "after": after}
    for name, (subject, control) in parts.items():
        print(f"{fault}, {name}: {subject}\n    control: {control}")
        wrong += [f"{name}: {told}" for told in _told_wrong(subject)]
        if subject is not first[0] and not any(told.startswith("hit") for told in subject.repeated):
            wrong.append(f"{name}: nothing came from the cache")  # at first a replica may have to forget what it has
        slowest_ms = max(slowest_ms, *_all(control.lookups_ms))
    late = [ms for seen, _ in (first, during) for ms in _all(seen.lookups_ms) if ms > WAIT_MS + slowest_ms]
    if late:
        wrong.append(f"{len(late)} look-ups took over {WAIT_MS:.0f} + {slowest_ms:.0f} ms, the longest {max(late):.0f}")
    busy = before[0].degraded + after[0].degraded
    asked = before[0].statuses.total() + after[0].statuses.total()
    if not during[0].degraded:
        wrong.append("nobody was told that it is away")
    if busy * 20 > asked:  # the store works, and answers came late
        findings.undecided.append(f"{fault}: degraded was said {busy} times of {asked} before and after")
    for name in ("answers_ms", "lookups_ms"):
        then, now = ((getattr(subject, name), getattr(control, name)) for subject, control in (before, during))
        rise = rise_of(then, now, stage.random)
        print(f"{fault}, p99 of {name.removesuffix('_ms')} with the breaker open: {rise}")
        (wrong if rise.verdict == "worse" else findings.undecided if rise.verdict == "undecided" else []).append(
            f"{fault}: p99 of {name.removesuffix('_ms')} {rise}"
        )
    print(f"{fault}: {wrong or 'fine'}; load average {os.getloadavg()[0]:.1f}", flush=True)
    findings.wrong += [f"{fault}: {one}" for one in wrong]
    return slowest_ms


def _told_wrong(seen: Seen) -> list[str]:
    wrong = [] if set(seen.statuses) == {200} else [f"statuses {dict(seen.statuses)}"]
    if seen.failed_lookups:
        wrong.append(f"{seen.failed_lookups} look-ups failed")
    return wrong


async def _observe(stage: Stage, seconds: float) -> tuple[Seen, Seen]:
    """Asks subject and control in turn for so long, every other time something that was asked before."""
    loop, seen = asyncio.get_running_loop(), (Seen(), Seen())
    sides = (stage.subject, stage.control)
    clients = [[stage.organization.async_client(edge) for edge in side.edges] for side in sides]
    channels = [[_channel(stage.running, cache) for cache in side.caches] for side in sides]
    for channel in (channel for side_channels in channels for channel in side_channels):
        await channel.channel_ready()
    started, number = loop.time(), 0
    async with asyncio.TaskGroup() as group:
        while (second := int(loop.time() - started)) < seconds:
            common = stage.random.randrange(_COMMON) if number % 2 == 0 else None
            for side in (0, 1) if number % 4 < 2 else (1, 0):
                client = clients[side][number // 2 % len(clients[side])]
                channel = channels[side][number // 2 % len(channels[side])]
                prompt = f"New {stage.random.getrandbits(60)}" if common is None else f"Common {common}"
                group.create_task(_ask(client, prompt, seen[side], second, repeated=common is not None))
                request = stage.lookup(stage.random.getrandbits(256).to_bytes(32, "big"))
                group.create_task(_look_up(channel, request, seen[side], second))
            number += 1
            await asyncio.sleep(max(0.0, started + number / stage.per_second - loop.time()))
    for client in (client for side_clients in clients for client in side_clients):
        await client.aclose()
    for channel in (channel for side_channels in channels for channel in side_channels):
        await channel.close()
    return seen


async def _ask(client: httpx2.AsyncClient, prompt: str, seen: Seen, second: int, *, repeated: bool) -> None:
    started = time.perf_counter()
    answer = await client.post("/infer", json={"prompt": prompt})
    seen.answers_ms.setdefault(second, []).append((time.perf_counter() - started) * 1000)
    seen.statuses[answer.status_code] += 1
    seen.degraded += bool(answer.headers.get("x-asahi-degraded"))
    if repeated:
        seen.repeated[answer.headers.get("x-asahi-cache", "none")] += 1


async def _look_up(channel: ServiceChannel, request: pb.LookupRequest, seen: Seen, second: int) -> None:
    started = time.perf_counter()
    try:
        await CacheServiceStub(channel).Lookup(request)
    except AsahiError:
        seen.failed_lookups += 1
    seen.lookups_ms.setdefault(second, []).append((time.perf_counter() - started) * 1000)


def _channel(running: Installation, cache: str) -> ServiceChannel:
    return ServiceChannel("cache", f"127.0.0.1:{running[cache].grpc_port}", _CACHE, timeout_s=10.0)


async def _is(stage: Stage, status: str) -> bool:
    """Whether `/health` of the subject says so."""
    url = stage.running.url_of(stage.subject.edges[0])
    async with httpx2.AsyncClient(timeout=10.0, verify=False) as client:
        components = (await client.get(f"{url}/health")).json()["components"]
    return bool(components.get(stage.part, {"status": "healthy"})["status"] == status)


async def _soon(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Whether it holds in a while."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not await holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


def _resampled(both: Both, random: Random) -> tuple[list[float], list[float]]:
    """Times of as many seconds as there were, drawn with repetition, the same for both."""
    seconds = sorted(set(both[0]) & set(both[1]))
    drawn = random.choices(seconds, k=len(seconds))
    subject, control = ([ms for second in drawn for ms in times[second]] for times in both)
    return subject, control


def _rise(before: tuple[list[float], list[float]], during: tuple[list[float], list[float]]) -> float:
    return (p99(during[0]) - p99(before[0])) - (p99(during[1]) - p99(before[1]))


def _all(times: dict[int, list[float]]) -> list[float]:
    return [ms for second in times.values() for ms in second]


def _times(milliseconds: Sequence[float]) -> str:
    if len(milliseconds) < 2:
        return "none"
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.1f} p99 {cuts[98]:.1f} most {max(milliseconds):.1f} ms"
