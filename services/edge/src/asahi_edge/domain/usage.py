"""Delivery of usage records to billing: paid ones before the caller's last byte, free ones in batches.

At most one delivery is under way; what gathers meanwhile goes with the next one. While billing does not answer, records
wait here, in order, and new requests are refused once the bound is reached, so that nothing is ever dropped.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_core.errors import AsahiError, InvalidRequest, ServiceUnavailable
from asahi_edge.domain.ports import Ledger

_BATCH = 500
_FREE_DELAY_S = 0.1
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Pending:
    record: UsageRecord
    delivered: asyncio.Future[None]


class UsageDelivery:
    """Delivers records at least once; billing counts each once. `run` must be running."""

    def __init__(
        self, ledger: Ledger, log: FilteringBoundLogger, *, acknowledge_within_s: float = 0.2, capacity: int = 50_000
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._acknowledge_within_s = acknowledge_within_s
        self._capacity = capacity
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._reachable = True

    @property
    def reachable(self) -> bool:
        """Whether the last delivery was acknowledged."""
        return self._reachable

    @property
    def backlog(self) -> int:
        """Records that are not acknowledged yet."""
        return len(self._pending)

    def admit(self) -> None:
        """Raises ServiceUnavailable when so many records wait that one more request could not be recorded."""
        if len(self._pending) >= self._capacity:
            raise ServiceUnavailable("Usage cannot be recorded at the moment; try again shortly.", retry_after_s=2.0)

    async def deliver(self, record: UsageRecord) -> bool:
        """Whether billing acknowledged `record` in time; it is delivered later if not."""
        delivered = self._enqueue(record)
        self._wake.set()
        done, _ = await asyncio.wait([delivered], timeout=self._acknowledge_within_s)
        return bool(done)

    def deliver_later(self, record: UsageRecord) -> None:
        """Delivers a record that cost nothing with the next batch, within a tenth of a second."""
        self._enqueue(record)
        if len(self._pending) == 1:
            asyncio.get_running_loop().call_later(_FREE_DELAY_S, self._wake.set)

    async def flush(self, timeout_s: float) -> bool:
        """Whether everything that waited is acknowledged within `timeout_s`."""
        if not self._pending:
            return True
        self._wake.set()
        done, _ = await asyncio.wait([self._pending[-1].delivered], timeout=timeout_s)
        return bool(done)

    async def run(self) -> None:
        """Delivers until `close`."""
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            await self._deliver_all()

    async def close(self, timeout_s: float) -> None:
        """Delivers what is left for at most `timeout_s`, then ends `run`."""
        if not await self.flush(timeout_s):
            self._log.error("usage_not_delivered", records=len(self._pending))
        self._closing = True
        self._wake.set()

    def _enqueue(self, record: UsageRecord) -> asyncio.Future[None]:
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(record, delivered))
        return delivered

    async def _deliver_all(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._pending and not self._closing:
            batch = [self._pending[i] for i in range(min(_BATCH, len(self._pending)))]
            try:
                await self._ledger.record([pending.record for pending in batch])
            except InvalidRequest:
                await self._deliver_singly(batch)
            except AsahiError as error:
                if self._reachable:
                    self._log.warning("billing_unreachable", error=error.message, backlog=len(self._pending))
                self._reachable = False
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._acknowledge(len(batch))
                pause_s = _FIRST_PAUSE_S

    async def _deliver_singly(self, batch: list[_Pending]) -> None:
        """Finds the record that billing refuses, so that it holds up no other."""
        for pending in batch:
            try:
                await self._ledger.record([pending.record])
            except InvalidRequest as error:
                self._log.error("usage_refused", error=error.message, usage=str(pending.record))
            except AsahiError:
                return
            self._acknowledge(1)

    def _acknowledge(self, count: int) -> None:
        if not self._reachable:
            self._log.info("billing_reachable", backlog=len(self._pending) - count)
        self._reachable = True
        for _ in range(count):
            delivered = self._pending.popleft().delivered
            if not delivered.done():
                delivered.set_result(None)
