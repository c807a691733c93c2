"""The service as a process: what it acknowledged survives whatever happens to it."""

import asyncio
import signal
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.errors import AsahiError, InvalidRequest, NotFound
from services.billing.tests.records import ORGANIZATION, at, call, hit, request_id
from services.billing.tests.running import Process, running


async def _record(service: BillingServiceStub, *records: pb.UsageRecord) -> pb.RecordUsageResponse:
    return await service.RecordUsage(pb.RecordUsageRequest(records=records))


async def _summary(service: BillingServiceStub) -> pb.GetCostSummaryResponse:
    request = pb.GetCostSummaryRequest(organization_id=ORGANIZATION)
    request.start_time.FromDatetime(at(-1))
    request.end_time.FromDatetime(at(10**7))
    return await service.GetCostSummary(request)


async def _listed(service: BillingServiceStub) -> list[str]:
    ids, token = [], ""
    while True:
        request = pb.ListInferencesRequest(organization_id=ORGANIZATION, page_size=1000, page_token=token)
        page = await service.ListInferences(request)
        ids += [inference.record.request_id for inference in page.inferences]
        token = page.next_page_token
        if not token:
            return ids


async def test_records_go_in_and_figures_come_out(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, service):
        recorded = await _record(service, call(1, 1, answered=False), call(1, 2), hit(2))
        assert recorded == pb.RecordUsageResponse(recorded=3)
        assert await _record(service, hit(2)) == pb.RecordUsageResponse(duplicates=1)
        assert (await _summary(service)).total_cost_nanos == 2 * call().cost_nanos
        request = pb.GetInferenceRequest(organization_id=ORGANIZATION, request_id=request_id(1))
        assert (await service.GetInference(request)).inference.record == call(1, 2)
        assert not (await service.ListOrphans(pb.ListOrphansRequest())).records


async def test_refusals_name_what_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, service):
        with pytest.raises(InvalidRequest) as refused:
            await _record(service, hit(1), hit(2, cost_nanos=-1))
        assert refused.value.param == "records[1].cost_nanos"
        with pytest.raises(InvalidRequest) as refused:
            await service.GetCostSummary(pb.GetCostSummaryRequest(organization_id=ORGANIZATION))
        assert refused.value.param == "start_time"
        endless = pb.GetCostSummaryRequest(organization_id=ORGANIZATION)
        endless.start_time.seconds, endless.end_time.seconds = -(2**62), 2**62
        assert (await service.GetCostSummary(endless)).total_requests == 0
        with pytest.raises(NotFound):
            await service.GetInference(pb.GetInferenceRequest(organization_id=ORGANIZATION, request_id="r"))


async def _stream(service: BillingServiceStub, lane: int, enough: asyncio.Event, acknowledged: set[int]) -> None:
    """Records one request after the other until the service is gone."""
    number = lane
    while True:
        try:
            await _record(service, call(number), call(number + 1, answered=False))
        except AsahiError:
            return
        acknowledged |= {number, number + 1}
        if len(acknowledged) >= 200:
            enough.set()
        number += 100


async def test_no_acknowledged_record_is_lost_by_a_kill(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for kill in range(4):
        enough = asyncio.Event()
        seen: set[int] = set()
        async with running(tmp_path) as (process, service):
            base = 10**6 * (kill + 1)
            lanes = [asyncio.create_task(_stream(service, base + 2 * n, enough, seen)) for n in range(16)]
            await enough.wait()
            await asyncio.sleep(0.003 * kill)
            code, _ = process.end(signal.SIGKILL)
            await asyncio.gather(*lanes)
        assert code == -signal.SIGKILL
        acknowledged |= seen
    async with running(tmp_path) as (_, service):
        kept = await _listed(service)
        assert len(kept) == len(set(kept))
        assert {request_id(number) for number in acknowledged} <= set(kept)
        numbers = sorted(acknowledged)
        for start in range(0, len(numbers), 500):
            batch = [call(number, answered=number % 2 == 0) for number in numbers[start : start + 500]]
            assert await _record(service, *batch) == pb.RecordUsageResponse(duplicates=len(batch))
        assert await _listed(service) == kept
        summary = await _summary(service)
        assert summary.total_cost_nanos == len(kept) * call().cost_nanos
        assert summary.total_requests == len(kept) // 2


async def test_sigterm_lets_calls_under_way_finish(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, service):
        await _record(service, call(0))
        batches = [[call(number) for number in range(n, n + 500)] for n in range(1, 5001, 500)]
        calls = [asyncio.create_task(_record(service, *batch)) for batch in batches]
        await asyncio.sleep(0.05)
        code, output = await asyncio.to_thread(process.end)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert code == 0, output
    acknowledged = sum(outcome.recorded for outcome in outcomes if isinstance(outcome, pb.RecordUsageResponse))
    assert acknowledged > 0
    async with running(tmp_path) as (_, service):
        assert (await _summary(service)).total_requests >= acknowledged + 1


async def test_metrics_count_records_and_name_no_organization(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    async with running(tmp_path, ASAHI_METRICS_ADDRESS=metrics) as (_, service):
        await _record(service, call(1), call(2), call(2))
        with pytest.raises(InvalidRequest):
            await _record(service, call(3, cost_nanos=-1))
        page = (await asyncio.to_thread(_read, f"http://{metrics}/metrics")).splitlines()
    assert 'asahi_billing_records_total{result="new"} 2.0' in page
    assert 'asahi_billing_records_total{result="duplicate"} 1.0' in page
    assert "asahi_billing_refused_calls_total 1.0" in page
    assert "asahi_billing_waiting_records 0.0" in page
    assert "asahi_billing_commit_seconds_count 1.0" in page
    assert not [line for line in page if ORGANIZATION in line]


def test_a_ledger_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "billing.db").write_bytes(b"no database at all" * 100)
    code, output = Process(tmp_path).wait()
    assert code == 78
    assert len(output.splitlines()) == 1
    assert str(tmp_path / "billing.db") in output


def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path) -> None:
    code, output = Process(tmp_path, ASAHI_BILLING_QUEUE_RECORDS="1").wait()
    assert code == 78
    assert output.startswith("asahi-billing: ASAHI_BILLING_QUEUE_RECORDS: ")


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, output = Process(tmp_path / "file" / "data").wait()
    assert code == 78
    assert len(output.splitlines()) == 1


def _read(url: str) -> str:
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
        return str(answer.read().decode())
