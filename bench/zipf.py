"""A day of Zipf traffic through tier 1 in memory: how much it answers beside other policies, and whether it grows.

`python -m bench.zipf` makes one trace: popularities by Zipf's law, a part of which changes every hour, a share of
questions that nobody repeats, answers of log-normal sizes. It goes through the service's own `MemoryTier`, then through
a plain LRU, the best set that never changes, and Belady's choice (who is asked for last leaves), with the same bytes;
and once more, the day in ten minutes, through a running service over an edge's standing connection.
Exit code 1 if either answers less than the LRU, or its process grows after the sixth hour.
"""

import argparse
import asyncio
import heapq
import sys
import time
from array import array
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from random import Random
from statistics import linear_regression

import psutil

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import FinishReason
from asahi_cache.domain.tiers import NewEntry, Query
from asahi_cache.stores.memory import MemoryTier
from asahi_core.clock import ManualClock
from bench.machine import load_average
from bench.zipf_service import through_the_service

HOURS = 24
_WARM_HOURS = 6
_TTL_S = 86_400.0
_SIZES = 32
_GROWTH = 0.01
"""Of the bound, from the sixth hour to the last: less is none."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the day is like."""

    requests: int = 1_500_000
    questions: int = 200_000
    """That are popular at the same time."""
    exponent: float = 0.9
    renewed: float = 0.02
    """Of the popular questions, each hour."""
    unrepeated: float = 0.3
    """Of requests, that nobody else makes."""
    max_bytes: int = 64 * 1024 * 1024


def trace_of(traffic: Traffic, random: Random) -> "array[int]":
    """The questions in their order, as numbers."""
    weights = list(accumulate(1 / rank**traffic.exponent for rank in range(1, traffic.questions + 1)))
    popular, fresh, trace = list(range(traffic.questions)), traffic.questions, array("q")
    for _ in range(HOURS):
        for place in random.choices(range(traffic.questions), cum_weights=weights, k=traffic.requests // HOURS):
            if random.random() < traffic.unrepeated:
                trace.append(fresh)
                fresh += 1
            else:
                trace.append(popular[place])
        for place in random.sample(range(traffic.questions), int(traffic.questions * traffic.renewed)):
            popular[place] = fresh
            fresh += 1
    return trace


class Answers:
    """An answer for each question, of one of some sizes."""

    def __init__(self, random: Random) -> None:
        self._entries = [_entry(int(random.lognormvariate(7.0, 1.0))) for _ in range(_SIZES)]
        self._bytes = [asyncio.run(_counted(entry)) for entry in self._entries]

    def entry(self, question: int) -> CacheEntry:
        """The answer."""
        return self._entries[question * 2_654_435_761 % _SIZES]

    def bytes(self, question: int) -> int:
        """What the tier counts for it."""
        return self._bytes[question * 2_654_435_761 % _SIZES]


async def through_the_tier(trace: Sequence[int], answers: Answers, max_bytes: int) -> tuple[int, list[int]]:
    """Hits, and the process's resident bytes at the end of each hour."""
    clock, process = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), psutil.Process()
    tier = MemoryTier(clock, max_bytes=max_bytes, organization_share=1.0)
    hits, resident, step_s = 0, [], HOURS * 3600 / len(trace)
    for number, question in enumerate(trace, start=1):
        clock.advance(step_s)
        fingerprint = question.to_bytes(32, "big")
        if await tier.find(Query("org", fingerprint)) is not None:
            hits += 1
        else:
            await tier.keep(NewEntry("org", fingerprint, answers.entry(question), _TTL_S))
        if number % (len(trace) // HOURS) == 0:
            await tier.sweep()
            resident.append(process.memory_info().rss)
    assert tier.bytes <= max_bytes
    return hits, resident


def through_an_lru(trace: Sequence[int], answers: Answers, max_bytes: int) -> int:
    """Hits of a plain LRU."""
    kept: OrderedDict[int, int] = OrderedDict()
    taken = hits = 0
    for question in trace:
        if question in kept:
            kept.move_to_end(question)
            hits += 1
            continue
        kept[question] = answers.bytes(question)
        taken += kept[question]
        while taken > max_bytes:
            taken -= kept.popitem(last=False)[1]
    return hits


def through_the_best_static_set(trace: Sequence[int], answers: Answers, max_bytes: int) -> int:
    """Hits of the set that, known from the start, answers most for its bytes and never changes."""
    counted = Counter(trace)
    hits = taken = 0
    for question, times in sorted(counted.items(), key=lambda item: -(item[1] - 1) / answers.bytes(item[0])):
        taken += answers.bytes(question)
        if taken > max_bytes:
            break
        hits += times - 1
    return hits


def through_belady(trace: Sequence[int], answers: Answers, max_bytes: int) -> int:
    """Hits of who knows the future: what is asked for last, or never again, leaves first, whatever its size."""
    coming, last = array("q", bytes(8 * len(trace))), dict[int, int]()
    for at in range(len(trace) - 1, -1, -1):
        coming[at] = last.get(trace[at], len(trace))
        last[trace[at]] = at
    kept, leaving = dict[int, int](), list[tuple[int, int]]()
    taken = hits = 0
    for at, question in enumerate(trace):
        if question in kept:
            hits += 1
        else:
            taken += answers.bytes(question)
        kept[question] = coming[at]
        heapq.heappush(leaving, (-coming[at], question))
        while taken > max_bytes:
            when, furthest = heapq.heappop(leaving)
            if kept.get(furthest) == -when:
                del kept[furthest]
                taken -= answers.bytes(furthest)
    return hits


def growth_of(resident: Sequence[int]) -> float:
    """Bytes an hour after the warm-up, by least squares."""
    warm = resident[_WARM_HOURS:]
    return linear_regression(range(len(warm)), warm).slope


def _entry(size: int) -> CacheEntry:
    built = CacheEntry(reference_model="gpt-6.1-sol", request_id="0199c7a0-0000-7000-8000-000000000000")
    built.created_at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    built.answer.finish_reason = FinishReason.FINISH_REASON_STOP
    built.answer.chat.parts.add().text = "x" * size
    return built


async def _counted(entry: CacheEntry) -> int:
    """What the tier counts for a further entry."""
    tier = MemoryTier(ManualClock(), max_bytes=1 << 30, organization_share=1.0)
    taken = []
    for number in range(2):
        await tier.keep(NewEntry("org", number.to_bytes(32, "big"), entry, _TTL_S))
        taken.append(tier.bytes)
    return taken[1] - taken[0]


def main() -> int:
    """Runs it and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=Traffic().requests, help="of the day")
    parser.add_argument("--seed", type=int, default=1, help="of the trace")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="that the day takes in the running service; 0: skip"
    )
    options = parser.parse_args()
    traffic, random = Traffic(requests=options.requests // HOURS * HOURS), Random(options.seed)
    trace, answers = trace_of(traffic, random), Answers(random)
    started = time.monotonic()
    ours, resident = asyncio.run(through_the_tier(trace, answers, traffic.max_bytes))
    took_s = time.monotonic() - started
    days = [("in this process", took_s, resident)]
    policies = {"tier 1": ours}
    if options.minutes:
        squeezed = asyncio.run(
            through_the_service(trace, answers.entry, traffic.max_bytes, hours=HOURS, seconds=options.minutes * 60)
        )
        policies["tier 1 of a running service"] = squeezed.hits
        days.append(("in the service", squeezed.took_s, squeezed.resident))
    tiers = min(policies.values())
    policies |= {
        "plain LRU": through_an_lru(trace, answers, traffic.max_bytes),
        "best static set": through_the_best_static_set(trace, answers, traffic.max_bytes),
        "Belady": through_belady(trace, answers, traffic.max_bytes),
    }
    print(f"{len(trace)} requests, {len(set(trace))} questions, {traffic.max_bytes >> 20} MiB, seed {options.seed}\n")
    print("| policy | hit rate |\n| --- | --: |")
    for name, hits in policies.items():
        print(f"| {name} | {hits / len(trace):.4f} |")
    grown = [_told_growth(*day, traffic.max_bytes) for day in days]
    return 0 if tiers >= policies["plain LRU"] and max(grown) < _GROWTH else 1


def _told_growth(where: str, took_s: float, resident: Sequence[int], max_bytes: int) -> float:
    """Prints how memory grew after the warm-up; by which part of the bound."""
    slope = growth_of(resident)
    grown = slope * (HOURS - _WARM_HOURS) / max_bytes
    print(
        f"\n24 h {where} in {took_s:.0f} s; resident memory after hour {_WARM_HOURS}: {slope / 1024:+.1f} KiB an hour, "
        f"{grown:+.2%} of the bound in {HOURS - _WARM_HOURS} h; load average {load_average():.1f}"
    )
    return grown


if __name__ == "__main__":
    sys.exit(main())
