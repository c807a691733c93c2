"""`python -m bench.growth`: how the cost of a request grows with what it says and with what is kept.

CPU time over all processes, sixteen at a time, of requests of more and more turns, bytes and tools, and of the same
request while there are more and more keys in use, entries in the cache and rows in the ledger. What was measured is
kept in a file as it goes, and not measured again: a run that was ended goes on where it was. The keys, entries and rows
themselves are made anew, since the installation is; options bound how many.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from google.protobuf.descriptor import ServiceDescriptor

from asahi.billing.v1 import billing_pb2
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi.cache.v1 import cache_pb2
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi.type.v1.chat_pb2 import FinishReason
from asahi_core.rpc.channel import ServiceChannel
from bench.analytics import Records
from bench.machine import conditions, load_average
from bench.report import cpu_per_request_us, quantile
from bench.suite import MODEL, SCENARIOS, Extent, Rig, Scenario, bench_installation
from tests.installation import Installation, Organization

_AT_ONCE = 16
_CALLERS = 8
_ROWS_AT_ONCE = 500
_ENTRY_BYTES = 1000
_CACHE_BYTES = 2 * 1024**3
_LONG = "Summarise what was said before in one sentence. " * 10
"""Longer than what similar questions are looked for of: that costs an embedding, which is another matter."""
_EXTENT = Extent(seconds=3.0, warm_seconds=1.0)
_TURNS = (1, 10, 100, 1000)
_BYTES = (1_000, 10_000, 100_000, 1_000_000)
_TOOLS = (0, 8, 64)
_KEYS = (1, 10, 100, 1_000, 10_000, 100_000)
_ENTRIES = (1_000, 10_000, 100_000, 1_000_000)
_ROWS = (10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a request, at one size of one thing."""

    cpu_us: float
    p50_us: float
    per_second: float


@dataclass
class Growth:
    """What is measured, and what was already."""

    rig: Rig
    kept: Path
    costs: dict[str, dict[str, Cost]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kept.exists():
            self.costs = msgspec.json.decode(self.kept.read_bytes(), type=dict[str, dict[str, Cost]])

    def measure(self, thing: str, size: int, scenario: Scenario, keys: list[str] | None = None) -> None:
        """One window, unless it was measured before."""
        found = self.costs.setdefault(thing, {})
        if str(size) in found:
            return
        print(f"{thing}: {size}", file=sys.stderr, flush=True)
        taken = self.rig.load(scenario, _AT_ONCE, authorizations=keys)
        found[str(size)] = Cost(
            cpu_per_request_us(taken), quantile(taken.latency_us, 0.5), taken.requests / taken.seconds
        )
        written = self.kept.with_suffix(".part")
        written.write_bytes(msgspec.json.format(msgspec.json.encode(self.costs)))
        written.rename(self.kept)


def shapes(growth: Growth) -> None:
    """Turns, bytes, tools."""
    for turns in _TURNS:
        said = [
            {"role": "assistant" if n % 2 else "user", "content": f"Turn {n} of what was said before, of a line."}
            for n in range(turns - 1)
        ]
        growth.measure("miss, turns of the conversation", turns, _chat(said))
    for size in _BYTES:
        growth.measure("miss, bytes of the prompt", size, _chat([], "word " * (size // 5)))
    for tools in _TOOLS:
        described = [
            {
                "type": "function",
                "function": {
                    "name": f"tool_{n}",
                    "description": "Looks something up.",
                    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
                },
            }
            for n in range(tools)
        ]
        growth.measure("miss, tools", tools, _chat([], tools=described))


def _chat(before: list[dict[str, str]], text: str = "", tools: object = None) -> Scenario:
    body: dict[str, object] = {
        "model": MODEL,
        "messages": [*before, {"role": "user", "content": f"{text or _LONG}It is @."}],
    }
    if tools:
        body["tools"] = tools
    return Scenario("growth", json.dumps(body))


async def keys_in_use(growth: Growth, organization: Organization, most: int) -> None:
    """A key after the other asks, of more and more."""
    keys = [organization.key]
    async with organization.async_client() as client:

        async def make() -> None:
            answer = await client.post("/governance/api-keys", json={"name": "growth", "scopes": ["infer"]})
            answer.raise_for_status()
            keys.append(answer.json()["api_key"])

        for size in _up_to(_KEYS, most):
            await _many(size - len(keys), make)
            used = [f"Bearer {key}" for key in keys]
            await asyncio.to_thread(growth.measure, "miss, keys in use", size, _scenario("miss"), used)


async def cache_entries(growth: Growth, installation: Installation, most: int) -> None:
    """A hit in the cache service, and a miss, among more and more entries."""
    descriptor = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]
    made = 0
    async with _channel(installation, "cache", descriptor) as channel:
        stub = CacheServiceStub(channel)

        async def store() -> None:
            nonlocal made
            made += 1
            entry = cache_pb2.CacheEntry(request_id=f"growth-{made}", reference_model=MODEL)
            entry.created_at.GetCurrentTime()
            entry.answer.finish_reason = FinishReason.FINISH_REASON_STOP
            entry.answer.model, entry.answer.native.body = MODEL, b"x" * _ENTRY_BYTES
            fingerprint = made.to_bytes(32, "big")
            await stub.Store(
                cache_pb2.StoreRequest(organization_id=f"org-{made % 100}", fingerprint=fingerprint, entry=entry)
            )

        for size in _up_to(_ENTRIES, most):
            await _many(size - made, store)
            for name in ("hit in the cache service", "miss"):
                await asyncio.to_thread(growth.measure, f"{name}, entries in the cache", size, _scenario(name))


async def ledger_rows(growth: Growth, installation: Installation, most: int) -> None:
    """A miss that a budget holds for, with more and more rows in the ledger."""
    descriptor = billing_pb2.DESCRIPTOR.services_by_name["BillingService"]
    records, made = Records(most), 0
    async with _channel(installation, "billing", descriptor) as channel:
        stub = BillingServiceStub(channel)

        async def record() -> None:
            await stub.RecordUsage(records.batch(_ROWS_AT_ONCE))

        for size in _up_to(_ROWS, most):
            await _many((size - made) // _ROWS_AT_ONCE, record)
            made = size
            scenario = _scenario("miss, a budget blocks")
            await asyncio.to_thread(growth.measure, f"{scenario.name}, rows of the ledger", size, scenario)


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _up_to(sizes: tuple[int, ...], most: int) -> Iterator[int]:
    return (size for size in sizes if size <= most)


@asynccontextmanager
async def _channel(installation: Installation, name: str, service: ServiceDescriptor) -> AsyncIterator[ServiceChannel]:
    target = f"127.0.0.1:{installation[name].grpc_port}"
    async with ServiceChannel(name, target, service, timeout_s=60.0) as channel:
        yield channel


async def _many(count: int, one: Callable[[], Awaitable[None]]) -> None:
    """Does it so often, several at a time; says how far it is."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one()
            if number and number % 10_000 == 0:
                print(f"  {number} of {count} made", file=sys.stderr, flush=True)

    await asyncio.gather(*(work() for _ in range(_CALLERS)))


def told(costs: dict[str, dict[str, Cost]]) -> Iterator[str]:
    """A table: each thing at each of its sizes."""
    yield "| | size | CPU ms | times the least size | p50 ms, c=16 | per second |"
    yield "| --- | --: | --: | --: | --: | --: |"
    for thing, found in costs.items():
        ordered = sorted(found.items(), key=lambda item: int(item[0]))
        for size, cost in ordered:
            times = cost.cpu_us / ordered[0][1].cpu_us
            figures = f"{cost.cpu_us / 1000:.2f} | {times:.2f} | {cost.p50_us / 1000:.1f} | {cost.per_second:.0f}"
            yield f"| {thing} | {int(size):,} | {figures} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000, help="most keys; default 1000")
    parser.add_argument("--entries", type=int, default=10_000, help="most cache entries; default 10 000")
    parser.add_argument("--rows", type=int, default=100_000, help="most rows of the ledger; default 100 000")
    parser.add_argument("--kept", type=Path, default=Path("growth.json"), help="what was measured; default growth.json")
    options = parser.parse_args()
    print(conditions("python -m bench.growth", load_average()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="asahi-growth-") as folder:
        more = {"cache": {"ASAHI_CACHE_MAX_BYTES": str(_CACHE_BYTES)}}
        with bench_installation(Path(folder), environment=more) as installation:
            growth = Growth(Rig(installation, _EXTENT), options.kept)
            shapes(growth)
            asyncio.run(keys_in_use(growth, installation.signup("Keys"), options.keys))
            asyncio.run(cache_entries(growth, installation, options.entries))
            asyncio.run(ledger_rows(growth, installation, options.rows))
    print("\n".join(told(growth.costs)))


if __name__ == "__main__":
    main()
