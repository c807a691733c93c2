"""Orphans on their way to a billing service that is real enough to refuse, to fail and to come late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import structlog

from asahi.billing.v1 import billing_pb2 as pb
from asahi_core.errors import InvalidRequest
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.status import to_rpc_status
from asahi_router.clients.billing import SERVICE, BillingOrphanLedger

Context = grpc.aio.ServicerContext[pb.RecordUsageRequest, pb.RecordUsageResponse]


class Billing:
    """Keeps records; refuses those of the model `bad`; fails the first `failures` calls."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.kept: list[str] = []

    async def record(self, request: pb.RecordUsageRequest, context: Context) -> pb.RecordUsageResponse:
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "not yet")
        if any(record.model == "bad" for record in request.records):
            await context.abort_with_status(to_rpc_status(InvalidRequest("A record is wrong.")))
        self.kept += [record.request_id for record in request.records]
        return pb.RecordUsageResponse(recorded=len(request.records))

    def handlers(self) -> grpc.GenericRpcHandler:
        method = grpc.unary_unary_rpc_method_handler(
            self.record,
            request_deserializer=pb.RecordUsageRequest.FromString,
            response_serializer=pb.RecordUsageResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE.full_name, {"RecordUsage": method})


@asynccontextmanager
async def _delivering(billing: Billing) -> AsyncIterator[BillingOrphanLedger]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((billing.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with ServiceChannel("billing", f"127.0.0.1:{port}", SERVICE, timeout_s=30) as channel:
        ledger = BillingOrphanLedger(channel, structlog.get_logger(), capacity=500)
        running = asyncio.create_task(ledger.run())
        try:
            yield ledger
        finally:
            running.cancel()
            await server.stop(None)


def _record(number: int, model: str = "good") -> pb.UsageRecord:
    return pb.UsageRecord(organization_id="o", request_id=str(number), attempt=1, model=model, orphan=True)


async def test_orphans_are_delivered_in_order_though_billing_fails_at_first() -> None:
    billing = Billing(failures=3)
    async with _delivering(billing) as ledger:
        for number in range(250):
            ledger.settle(_record(number))
        assert await ledger.flush(30)
        assert ledger.backlog == 0
    assert billing.kept == [str(number) for number in range(250)]


async def test_a_record_that_is_refused_holds_up_no_other() -> None:
    billing = Billing()
    async with _delivering(billing) as ledger:
        for number in range(6):
            ledger.settle(_record(number, "bad" if number == 3 else "good"))
        assert await ledger.flush(30)
    assert billing.kept == ["0", "1", "2", "4", "5"]


async def test_what_waits_is_bounded() -> None:
    async with _delivering(Billing(failures=1_000_000)) as ledger:
        for number in range(700):
            ledger.settle(_record(number))
        assert ledger.backlog == 500
        assert not await ledger.flush(0.05)
