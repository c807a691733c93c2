"""`python -m bench.analytics`: analytics over a million records, on PostgreSQL and SQLite, while others are written.

One billing process is given the records over gRPC, which is the ingestion that is measured; then it is asked what the
edge asks it, one question at a time, while 200 records a second come in.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psutil

from asahi.billing.v1 import analytics_pb2 as pb
from asahi.billing.v1 import billing_pb2
from asahi.billing.v1.analytics_pb2_grpc import AnalyticsServiceStub
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.rpc.channel import ServiceChannel
from bench.machine import conditions, load_average
from services.billing.tests.running import Process
from tests.postgresql import postgresql

ORGANIZATION = "org_bench"
_DAYS = 30
_BATCH = 250
_CALLERS = 8
_WRITTEN_A_SECOND = 200
_MODELS = [f"model-{n}" for n in range(8)]
_ASKED = 60


class Records:
    """Usage records of an organisation: 200 users, 20 keys, 8 models, 6 kinds of work, 20 teams; a third are hits.

    `count` of them go over the 30 days before now, in order of time.
    """

    def __init__(self, count: int) -> None:
        self._step_s = _DAYS * 86_400 / count
        self._began = time.time() - _DAYS * 86_400
        self._random = Random(7)
        self._number = 0

    def batch(self, size: int, *, now: bool = False) -> billing_pb2.RecordUsageRequest:
        """The next records, or as many of this moment."""
        return billing_pb2.RecordUsageRequest(records=[self._record(now=now) for _ in range(size)])

    def _record(self, *, now: bool) -> billing_pb2.UsageRecord:
        random, self._number = self._random, self._number + 1
        moment = time.time() if now else self._began + self._number * self._step_s
        is_hit = random.random() < 0.33
        cost = 0 if is_hit else random.randint(100_000, 5_000_000)
        original = random.randint(100_000, 9_000_000)
        record = billing_pb2.UsageRecord(
            organization_id=ORGANIZATION,
            request_id=str(UUID(int=int(moment * 1000) << 80 | 7 << 76 | 2 << 62 | self._number)),
            attempt=0 if is_hit else 1,
            api_key_id=f"key_{random.randrange(20)}",
            user_id=f"user-{random.randrange(200)}",
            tags={"team": f"team-{random.randrange(20)}", "stage": random.choice(["test", "production"])},
            model=random.choice(_MODELS),
            provider=random.choice(["openai", "anthropic"]),
            task_type=random.choice(["chat", "code", "math", "extraction", "summarization", "translation"]),
            routing_reason="The cheapest model that meets 3.5.",
            price_version="bench",
            cost_nanos=cost,
            cost_original_nanos=original,
            cache_tier=1 if is_hit else 0,
            latency_ms=random.lognormvariate(1 if is_hit else 6.5, 0.6),
            overhead_ms=2.0,
            answered=True,
        )
        record.savings.add(technique="cache_tier_1" if is_hit else "routing", nanos=original - cost)
        record.occurred_at.FromNanoseconds(int(moment * 1e9))
        if not is_hit:
            source = UsageSource.USAGE_SOURCE_PROVIDER
            record.usage.CopyFrom(Usage(input_tokens=900, output_tokens=300, source=source))
        return record


@asynccontextmanager
async def _billing(
    folder: Path, url: str
) -> AsyncIterator[tuple[BillingServiceStub, AnalyticsServiceStub, psutil.Process]]:
    process = Process(folder, **({"DATABASE_URL": url} if url else {}))
    try:
        address = process.address()
        services = [
            billing_pb2.DESCRIPTOR.services_by_name["BillingService"],
            pb.DESCRIPTOR.services_by_name["AnalyticsService"],
        ]
        async with (
            ServiceChannel("billing", address, services[0], timeout_s=120) as ledger,
            ServiceChannel("billing", address, services[1], timeout_s=120) as figures,
        ):
            yield BillingServiceStub(ledger), AnalyticsServiceStub(figures), psutil.Process(process.pid)
    finally:
        process.end()


async def _ingest(service: BillingServiceStub, records: Records, count: int) -> float:
    """Records a second, over several callers at the same time."""
    batches = iter(range(0, count, _BATCH))

    async def call() -> None:
        for _ in batches:
            await service.RecordUsage(records.batch(_BATCH))

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(_CALLERS)))
    return count / (time.perf_counter() - started)


async def _write(service: BillingServiceStub, records: Records) -> None:
    """200 records a second, in ten calls."""
    while True:
        started = time.perf_counter()
        await service.RecordUsage(records.batch(_WRITTEN_A_SECOND // 10, now=True))
        await asyncio.sleep(max(0.0, 0.1 - (time.perf_counter() - started)))


def _questions(ledger: BillingServiceStub, figures: AnalyticsServiceStub) -> dict[str, Callable[[], Awaitable[object]]]:
    def over(request: Any, days: float = _DAYS) -> Any:
        now = datetime.now(UTC)
        request.organization_id = ORGANIZATION
        request.start_time.FromDatetime(now - timedelta(days=days))
        request.end_time.FromDatetime(now + timedelta(seconds=1))
        return request

    def breakdown(group_by: str) -> Awaitable[object]:
        return figures.GetBreakdown(over(pb.GetBreakdownRequest(group_by=group_by)))

    month = datetime.now(UTC).day - 1 + datetime.now(UTC).hour / 24
    return {
        "summary, 24 hours": lambda: ledger.GetCostSummary(over(billing_pb2.GetCostSummaryRequest(), 1)),
        "summary, 30 days": lambda: ledger.GetCostSummary(over(billing_pb2.GetCostSummaryRequest())),
        "usage, this month": lambda: ledger.GetCostSummary(over(billing_pb2.GetCostSummaryRequest(), month)),
        "breakdown by model, 30 days": lambda: breakdown("model"),
        "breakdown by user, 30 days": lambda: breakdown("user"),
        "breakdown by tag, 30 days": lambda: breakdown("tag:team"),
        "trends by hour, 30 days": lambda: figures.GetTrends(over(pb.GetTrendsRequest(interval_hours=1))),
        "trends by day, 30 days": lambda: figures.GetTrends(over(pb.GetTrendsRequest(interval_hours=24))),
        "percentiles, 30 days": lambda: figures.GetLatencyPercentiles(over(pb.GetLatencyPercentilesRequest())),
        "forecast, 30 days": lambda: figures.GetForecast(pb.GetForecastRequest(organization_id=ORGANIZATION)),
        "anomalies, 7 days": lambda: figures.ListAnomalies(over(pb.ListAnomaliesRequest(), 7)),
        "recommendations, 30 days": lambda: figures.ListRecommendations(over(pb.ListRecommendationsRequest())),
    }


async def _asked(question: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of each of many, one at a time, sorted."""
    taken = []
    for _ in range(_ASKED):
        started = time.perf_counter()
        await question()
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.01)
    return sorted(taken)


async def _export(figures: AnalyticsServiceStub) -> tuple[int, float]:
    """How many rows all have, and seconds."""
    request = pb.ExportUsageRequest(organization_id=ORGANIZATION)
    request.start_time.FromDatetime(datetime.now(UTC) - timedelta(days=_DAYS + 1))
    request.end_time.FromDatetime(datetime.now(UTC))
    started, rows = time.perf_counter(), 0
    async for message in figures.ExportUsage(request):
        rows += len(message.records)
    return rows, time.perf_counter() - started


async def _measure(name: str, folder: Path, url: str, count: int) -> str:
    records, lines = Records(count), [f"### {name}, {count:,} records".replace(",", " "), ""]
    async with _billing(folder, url) as (ledger, figures, process):
        rate = await _ingest(ledger, records, count)
        memory = process.memory_info().rss
        writing = asyncio.create_task(_write(ledger, records))
        lines += [
            f"Ingestion: {rate:,.0f} records/s.".replace(",", " "),
            "",
            "| question | p50 ms | p95 ms | most ms |",
        ]
        lines += ["|---|--:|--:|--:|"]
        for question, ask in _questions(ledger, figures).items():
            taken = await _asked(ask)
            p50, p95 = taken[len(taken) // 2], taken[int(len(taken) * 0.95)]
            lines.append(f"| {question} | {p50:.1f} | {p95:.1f} | {taken[-1]:.1f} |")
        rows, seconds = await _export(figures)
        grown = (process.memory_info().rss - memory) / 2**20
        assert not writing.done(), "the writer ended"
        writing.cancel()
        told = f"Export of {rows:,} rows: {rows / seconds:,.0f} rows/s; ".replace(",", " ")
        lines += ["", f"{told}the process grew by {grown:.0f} MiB over questions and export.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.analytics", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="how many; default a million")
    parser.add_argument("--only", choices=["postgresql", "sqlite"], help="one database")
    options = parser.parse_args()
    print(conditions("python -m bench.analytics", load_average()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="asahi-bench-") as folder:
        if options.only != "sqlite":
            with postgresql() as server:
                url = server.create_database("billing")
                print(asyncio.run(_measure("PostgreSQL", Path(folder) / "pg", url, options.records)), flush=True)
        if options.only != "postgresql":
            print(asyncio.run(_measure("SQLite", Path(folder) / "sqlite", "", options.records)), flush=True)


if __name__ == "__main__":
    main()
