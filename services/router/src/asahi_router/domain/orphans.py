"""Provider calls whose caller vanished: read to their end where that is cheap, then settled with billing by us."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.router.v1.router_pb2 import AttemptOutcome, Decision, Task
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import Clock
from asahi_core.errors import Cancelled
from asahi_core.prices import Books
from asahi_router.domain.call_under_way import CallUnderWay
from asahi_router.domain.completion_ports import OrphanLedger
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.failures import is_billed, outcome_code

_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """How far the answer of a call is read that nobody waits for."""

    seconds: float = 5.0
    nanos: int = 10_000_000
    """Nano-dollars that the whole call may cost by then."""
    unread_s: float = 5.0
    """Seconds that a caller has to tell billing of what it may have read the end of; what it tells is richer."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A provider call that nobody waits for."""

    task: Task
    decision: Decision
    provider: str
    call: CallUnderWay
    asked_bytes: int
    """The size of its prompt, see `domain.estimate`."""
    purpose: str = ""
    """As in `AttemptOutcome`."""


class Orphanage:
    """Looks after calls whose caller vanished. Every call that is taken in is settled."""

    def __init__(
        self, ledger: OrphanLedger, prices: Books, estimator: TokenEstimator, clock: Clock, limits: DrainLimits
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._estimator = estimator
        self._clock = clock
        self._limits = limits
        self._draining: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def adopt(self, orphan: Orphan) -> None:
        """Takes a call in: it is read on in the background."""
        self._watch(self._drain(orphan))

    def settle(self, task: Task, decision: Decision, calls: Sequence[AttemptOutcome]) -> None:
        """Settles calls that had ended when their caller vanished."""
        for call in calls:
            self._ledger.settle(self._record(task, decision, call))

    def settle_unless_known(self, task: Task, decision: Decision, calls: Sequence[AttemptOutcome]) -> None:
        """Settles calls that their caller may settle, too, if it has read how they ended: billing counts the first."""
        self._watch(self._settle_later(task, decision, calls))

    async def close(self, timeout_s: float) -> None:
        """Lets draining end by itself for at most `timeout_s`; what is left is cut and settled as estimated."""
        if self._draining:
            await asyncio.wait(self._draining, timeout=timeout_s)
        self._closing.set()
        if self._draining:
            await asyncio.wait(self._draining)

    def _watch(self, settling: Coroutine[None, None, None]) -> None:
        draining = asyncio.create_task(settling)
        self._draining.add(draining)
        draining.add_done_callback(self._draining.discard)

    async def _settle_later(self, task: Task, decision: Decision, calls: Sequence[AttemptOutcome]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._limits.unread_s)
        self.settle(task, decision, calls)

    async def _drain(self, orphan: Orphan) -> None:
        call = orphan.call
        ends = self._clock.monotonic() + self._limits.seconds
        while not call.ended and not self._closing.is_set():
            if self._clock.monotonic() >= ends or self._cost_nanos(orphan) > self._limits.nanos:
                break
            await call.wait(_LOOK_EVERY_S)
        await call.stop()
        self._ledger.settle(self._record(orphan.task, orphan.decision, self._outcome(orphan)))

    def _cost_nanos(self, orphan: Orphan) -> int:
        """What the call costs so far; a model without a price is read no further than one that costs nothing."""
        usage = self._estimate(orphan)
        prices = self._prices.of(orphan.task.organization_id)
        return prices.cost_nanos(orphan.call.call.model, usage, self._clock.now()) or 0

    def _estimate(self, orphan: Orphan) -> Usage:
        call = orphan.call
        return self._estimator.usage(call.call, orphan.asked_bytes, call.received_so_far(), call.silent_ms)

    def _outcome(self, orphan: Orphan) -> AttemptOutcome:
        call = orphan.call
        outcome = AttemptOutcome(
            attempt=call.call.attempt,
            model=call.call.model,
            provider=orphan.provider,
            duration_ms=call.elapsed_ms,
            purpose=orphan.purpose,
        )
        if call.answer is not None:
            outcome.outcome = "answered"
            outcome.usage.CopyFrom(call.answer.usage)
            if outcome.usage.source == UsageSource.USAGE_SOURCE_PROVIDER:
                outcome.usage.source = UsageSource.USAGE_SOURCE_DRAINED
                return outcome
        else:
            outcome.outcome = outcome_code(call.failure) if call.failure is not None else Cancelled.code
        if is_billed(call.failure) and call.received.sent_after_ms is not None:
            outcome.usage.CopyFrom(self._estimate(orphan))
        return outcome

    def _record(self, task: Task, decision: Decision, call: AttemptOutcome) -> UsageRecord:
        now = self._clock.now()
        record = UsageRecord(
            organization_id=task.organization_id,
            request_id=task.request_id,
            attempt=call.attempt,
            api_key_id=task.payer.api_key_id,
            user_id=task.payer.user_id,
            task_id=task.payer.task_id,
            tags=task.payer.tags,
            api=task.payer.api,
            routing_mode=task.routing.mode,
            routing_reason=decision.reason,
            task_type=decision.task_type,
            model=call.model,
            provider=call.provider,
            usage=call.usage,
            latency_ms=call.duration_ms,
            error_code="" if call.outcome == "answered" else call.outcome,
            orphan=True,
            purpose=call.purpose,
        )
        record.occurred_at.FromDatetime(now)
        self._price(record, now)
        return record

    def _price(self, record: UsageRecord, now: datetime) -> None:
        if record.usage.source == UsageSource.USAGE_SOURCE_UNSPECIFIED:
            return
        prices = self._prices.of(record.organization_id)
        cost = prices.cost_nanos(record.model, record.usage, now)
        record.price_version = prices.version
        record.cost_nanos = cost or 0
        record.cost_overhead_nanos = record.cost_nanos if record.purpose else 0
        record.price_unknown = cost is None
