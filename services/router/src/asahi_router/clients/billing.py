"""The billing service, as far as the router needs it: to settle provider calls whose caller vanished."""

import asyncio
from collections import deque

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.errors import AsahiError, InvalidRequest
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["BillingService"]
_BATCH = 100
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class BillingOrphanLedger:
    """Delivers orphans to billing until it acknowledges them; billing counts each once. `run` must be running."""

    def __init__(self, channel: ServiceChannel, log: FilteringBoundLogger, *, capacity: int = 10_000) -> None:
        """`capacity`: most records that wait while billing does not answer; the oldest are dropped, and logged."""
        self._stub = BillingServiceStub(channel)
        self._log = log
        self._waiting: deque[pb.UsageRecord] = deque()
        self._capacity = capacity
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def backlog(self) -> int:
        """Records that are not acknowledged yet."""
        return len(self._waiting)

    def settle(self, record: pb.UsageRecord) -> None:
        """Takes the record; billing has it as soon as it can be reached."""
        if len(self._waiting) >= self._capacity:
            self._lose(self._waiting.popleft(), "billing has not answered for too long")
        self._waiting.append(record)
        self._empty.clear()
        self._wake.set()

    async def run(self) -> None:
        """Delivers until it is cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if await self._deliver():
                    pause_s = _FIRST_PAUSE_S
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._empty.set()

    async def flush(self, timeout_s: float) -> bool:
        """Whether all that waited is acknowledged within `timeout_s`; what is not is logged."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            for record in self._waiting:
                self._lose(record, "the router stopped before billing answered")
            return False
        return True

    async def _deliver(self) -> bool:
        """Whether the records that have waited longest are dealt with."""
        batch = [self._waiting[index] for index in range(min(_BATCH, len(self._waiting)))]
        try:
            await self._stub.RecordUsage(pb.RecordUsageRequest(records=batch))
        except InvalidRequest as error:
            if len(batch) > 1:
                return await self._deliver_singly(batch)
            self._lose(batch[0], error.message)
        except AsahiError as error:
            self._log.warning("billing_unreachable", error=error.message, orphans=len(self._waiting))
            return False
        self._forget(batch)
        return True

    async def _deliver_singly(self, batch: list[pb.UsageRecord]) -> bool:
        """Finds the record that billing refuses, so that it holds up no other."""
        for record in batch:
            try:
                await self._stub.RecordUsage(pb.RecordUsageRequest(records=[record]))
            except InvalidRequest as error:
                self._lose(record, error.message)
            except AsahiError:
                return False
            self._forget([record])
        return True

    def _forget(self, batch: list[pb.UsageRecord]) -> None:
        for record in batch:
            if self._waiting and self._waiting[0] is record:
                self._waiting.popleft()

    def _lose(self, record: pb.UsageRecord, why: str) -> None:
        self._log.error(
            "orphan_lost",
            reason=why,
            organization_id=record.organization_id,
            request_id=record.request_id,
            attempt=record.attempt,
            model=record.model,
            cost_nanos=record.cost_nanos,
        )
