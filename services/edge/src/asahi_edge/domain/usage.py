"""What every call cost, on its way to billing: intent before the call, record before the caller's last byte, delivery.

Records go to billing in the order in which they were settled, at least once; billing counts each once. Intents whose
record never comes are settled by estimate, as orphans. Where records wait meanwhile is the spool's affair.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC
from itertools import takewhile
from random import Random
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, InvalidRequest, RequestTooLarge
from asahi_core.prices import Books
from asahi_edge.domain.spool import OpenIntent, Spool

_BATCH = 500
_GATHER_S = 0.25
"""A delivery costs billing a transaction, whatever it has in it."""
_SOON_S = 0.05
_PER_DELIVERY = 20
_FREE_DELAY_S = 0.25
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class Recorder(Protocol):
    """Billing, as far as it takes records. Raises `AsahiError`s only."""

    async def record(self, records: Sequence[UsageRecord]) -> None:
        """Records usage durably; a record that is known already changes nothing."""
        ...


class UsageDelivery:
    """Records usage durably and delivers it to billing. `run` must be running."""

    def __init__(
        self,
        ledger: Recorder,
        spool: Spool,
        *,
        prices: Books,
        clock: Clock,
        random: Random,
        log: FilteringBoundLogger,
        acknowledge_within_s: float = 0.2,
        orphan_settle_s: float = 10.0,
        longest_call_s: float = 660.0,
    ) -> None:
        """Intents are orphans `orphan_settle_s` after an earlier process left them, or `longest_call_s` after ours."""
        self._ledger = ledger
        self._spool = spool
        self._prices = prices
        self._clock = clock
        self._random = random
        self._log = log
        self._acknowledge_within_s = acknowledge_within_s
        self._orphan_settle_s = orphan_settle_s
        self._longest_call_s = longest_call_s
        self._free: list[UsageRecord] = []
        self._free_timer: asyncio.TimerHandle | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._soon = asyncio.Event()
        self._closing = asyncio.Event()
        self._took_s = 0.0
        """How long the last delivery took."""
        self._oldest: UsageRecord | None = None
        self._reachable = True
        self.refused = 0
        """Records that billing refused, since start."""
        self.orphans = 0
        """Intents that were settled by estimate, since start."""

    @property
    def reachable(self) -> bool:
        """Whether the last delivery was acknowledged."""
        return self._reachable

    @property
    def backlog(self) -> int:
        """Records that are not acknowledged yet."""
        return self._spool.appended - self._spool.delivered + len(self._free)

    @property
    def backlog_age_s(self) -> float:
        """Seconds since the oldest record that is not acknowledged; 0: none waits."""
        if self._oldest is None or self._spool.appended == self._spool.delivered:
            return 0.0
        return max(0.0, self._clock.now().timestamp() - self._oldest.occurred_at.ToNanoseconds() / 1e9)

    def admit(self) -> None:
        """Raises ServiceUnavailable while one more request could not be recorded."""
        self._spool.admit()

    def intend(self, intent: UsageRecord, estimated_input_tokens: int) -> None:
        """Notes that a provider call is about to be made. Every intent is to be settled, whatever becomes of the call.

        Raises:
            ServiceUnavailable: it cannot be noted; the call must not be made.
        """
        noted = UsageRecord()
        noted.CopyFrom(intent)
        estimate = Usage(input_tokens=estimated_input_tokens, source=UsageSource.USAGE_SOURCE_ESTIMATED)
        noted.usage.CopyFrom(estimate)
        self._spool.intend(noted)

    async def settle(self, record: UsageRecord, *, soon: bool = False) -> bool:
        """Records what a call cost, before the caller's last byte; billing is to have it `soon` where it ends a hold.

        Returns:
            Whether nothing but the loss of a disk, or of billing's store, can lose it; if not, the answer is degraded.
        """
        number = self._append([record])
        if soon:
            self._soon.set()
        return await self._spool.durable(number) or await self._acknowledged(number)

    def deliver_later(self, record: UsageRecord) -> None:
        """Records what cost nothing within a quarter of a second; until then a kill of the process loses it."""
        self._free.append(record)
        if len(self._free) >= _BATCH:
            self._append([])
        elif self._free_timer is None:
            self._free_timer = asyncio.get_running_loop().call_later(_FREE_DELAY_S, self._append, ())

    async def flush(self, timeout_s: float) -> bool:
        """Whether everything recorded by now is acknowledged within `timeout_s`."""
        number = self._append([])
        return await self._wait_for(number, timeout_s)

    async def run(self) -> None:
        """Delivers until `close`."""
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._deliver_always()), tasks.create_task(self._settle_orphans())]
            await self._closing.wait()
            for task in working:
                task.cancel()

    async def close(self, timeout_s: float) -> None:
        """Delivers for at most `timeout_s`, then ends `run`. What is left is delivered by the spool's next process."""
        if not await self.flush(timeout_s):
            self._log.warning("usage_left_in_spool", records=self.backlog)
        self._closing.set()

    def _append(self, records: Sequence[UsageRecord]) -> int:
        """Hands over what is free and waits, then `records`; returns the number of the last record of all."""
        if self._free_timer is not None:
            self._free_timer.cancel()
            self._free_timer = None
        if not self._free and not records:
            return self._spool.appended - 1
        free, self._free = self._free, []
        number = self._spool.append([*free, *records])
        self._work.set()
        return number

    async def _acknowledged(self, number: int) -> bool:
        """Whether billing acknowledges the record in time; it is not waited for while it is known to be away."""
        return self._reachable and await self._wait_for(number, self._acknowledge_within_s)

    async def _wait_for(self, number: int, timeout_s: float) -> bool:
        if number < self._spool.delivered:
            return True
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((number, delivered))
        self._hurry.set()
        self._soon.set()
        try:
            await asyncio.wait_for(delivered, timeout_s)
        except TimeoutError:
            return False
        return True

    async def _deliver_always(self) -> None:
        pause_s = _FIRST_PAUSE_S
        self._work.set()  # an earlier process may have left records
        while True:
            await self._work.wait()
            await self._gather()
            self._work.clear()
            try:
                while len(await self._deliver_batch()) == _BATCH:
                    pause_s = _FIRST_PAUSE_S
            except (AsahiError, OSError) as error:
                self._work.set()
                self._note_failure(error)
                await asyncio.sleep(pause_s * self._random.uniform(0.5, 1))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                pause_s = _FIRST_PAUSE_S

    async def _gather(self) -> None:
        """Lets records come together for one delivery: fewer if a hold ends with one, none if somebody waits for it."""
        soon_s = gathering_s(self._took_s)
        for event, pause_s in ((self._soon, _GATHER_S - soon_s), (self._hurry, soon_s)):
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await event.wait()
        if not self._hurry.is_set():
            self._soon.clear()

    async def _deliver_batch(self) -> list[UsageRecord]:
        """Delivers the oldest records; returns what it found."""
        batch = await self._spool.oldest(_BATCH)
        if batch:
            self._oldest = batch[0]
            began = self._clock.monotonic()
            await self._deliver(batch)
            self._took_s = self._clock.monotonic() - began
        return batch

    async def _deliver(self, batch: list[UsageRecord]) -> None:
        """Delivers a batch. One that is refused is halved until what is refused stands alone and holds up no other."""
        try:
            await self._ledger.record(batch)
        except (InvalidRequest, RequestTooLarge) as error:
            if len(batch) == 1:
                await self._set_aside(batch[0], error)
                self._acknowledge(1)
            else:
                middle = len(batch) // 2
                await self._deliver(batch[:middle])
                await self._deliver(batch[middle:])
        else:
            self._acknowledge(len(batch))

    async def _set_aside(self, record: UsageRecord, error: AsahiError) -> None:
        await self._spool.refuse(record, error.message)
        self.refused += 1
        self._log.error("usage_refused", reason=error.message, **_ids(record))

    def _acknowledge(self, count: int) -> None:
        self._spool.acknowledge(count)
        if not self._reachable:
            self._log.info("billing_reachable", backlog=self.backlog)
            self._reachable = True
        for number, delivered in self._waiters:
            if number < self._spool.delivered and not delivered.done():
                delivered.set_result(None)
        self._waiters = [waiter for waiter in self._waiters if not waiter[1].done()]
        if not self._waiters:
            self._hurry.clear()

    def _note_failure(self, error: AsahiError | OSError) -> None:
        if not isinstance(error, AsahiError):
            self._log.error("spool_not_usable", error=str(error), backlog=self.backlog)
        elif self._reachable:
            self._log.warning("billing_unreachable", error=error.message, backlog=self.backlog)
            self._reachable = False

    async def _settle_orphans(self) -> None:
        while True:
            await asyncio.sleep(self._orphan_settle_s)
            overdue = [self._orphan(intent.record) for intent in takewhile(self._is_overdue, self._spool.intents())]
            if overdue:
                self._append(overdue)
                self.orphans += len(overdue)
                self._log.warning("orphans_settled", calls=len(overdue))

    def _is_overdue(self, intent: OpenIntent) -> bool:
        return intent.opened_at is None or intent.opened_at + self._longest_call_s <= self._clock.monotonic()

    def _orphan(self, intent: UsageRecord) -> UsageRecord:
        """The record of a call of which nothing is known but that it was to be made."""
        prices = self._prices.of(intent.organization_id)
        cost_nanos = prices.cost_nanos(intent.model, intent.usage, intent.occurred_at.ToDatetime(UTC))
        record = UsageRecord()
        record.CopyFrom(intent)
        record.orphan = True
        record.answered = False
        record.cost_nanos = cost_nanos or 0
        record.cost_overhead_nanos = record.cost_nanos if record.purpose else 0
        record.price_unknown = cost_nanos is None
        record.price_version = prices.version
        return record


def gathering_s(took_s: float) -> float:
    """How long records gather that holds end with, 50 to 250 ms: twenty times as long as the last delivery.

    A busy billing service gets more at once; until then what is held for these records is kept from others.
    """
    return min(_GATHER_S, max(_SOON_S, _PER_DELIVERY * took_s))


def _ids(record: UsageRecord) -> dict[str, str | int]:
    """What names a record; nothing else of it is logged."""
    return {
        "organization_id": record.organization_id,
        "usage_request_id": record.request_id,
        "attempt": record.attempt,
    }
