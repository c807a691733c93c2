"""Any order of intents, records, deliveries, refusals, crashes and pauses in the delivery of usage, beside a model.

The event loop's own time stands still but for what the delivery sleeps, which passes at once: a step is as long as the
machine needs for it, and a run is the same whenever it is repeated.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest, ServiceUnavailable
from asahi_core.prices import OrganizationPrices, load_price_book
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.stores.spool_memory import MemorySpool
from services.edge.tests.usage_records import CountingLedger, Name, name_of, usage_record

_PRICES = load_price_book()
_ORPHAN_S, _LONGEST_S = 10.0, 60.0
_numbers = st.integers(0, 30)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self._real_select: Callable[[Any], Any] = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._select  # type: ignore[attr-defined]

    def time(self) -> float:
        """The virtual clock's."""
        return self._clock.monotonic()

    def _select(self, timeout: float | None) -> Any:
        if timeout:
            self._clock.advance(timeout)
        return self._real_select(0)


class OutboxSteps(RuleBasedStateMachine):
    """One edge's delivery over a spool that outlives it, to a ledger that fails as told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._clock = ManualClock()
        self._ledger = CountingLedger()
        self._spool = MemorySpool(self._clock)
        self._intended: dict[Name, UsageRecord] = {}
        self._settled: set[Name] = set()
        self._refused: set[Name] = set()
        self._start()

    @rule(number=_numbers)
    def intend(self, number: int) -> None:
        record = usage_record(number)
        if name_of(record) not in self._intended:
            self._usage.intend(record, 10)
            self._intended[name_of(record)] = record

    @rule(number=_numbers, free=st.booleans())
    def settle(self, number: int, free: bool) -> None:
        record = usage_record(number, attempt=0 if free else 1)
        if name_of(record) in self._settled:
            return
        self._settled.add(name_of(record))
        if free:
            self._loop.run_until_complete(self._deliver_later(record))
        else:
            self._intended.setdefault(name_of(record), record)
            self._loop.run_until_complete(self._usage.settle(record))

    @rule()
    def billing_goes_away(self) -> None:
        self._ledger.failure = ServiceUnavailable("It does not answer.", retry_after_s=1.0)

    @rule()
    def billing_comes_back(self) -> None:
        self._ledger.failure = None

    @rule(number=_numbers)
    def billing_refuses_one(self, number: int) -> None:
        name = name_of(usage_record(number))
        if name not in self._ledger.records:
            self._refused.add(name)
            self._ledger.refuses = lambda record: (
                InvalidRequest("It is wrong.") if name_of(record) in self._refused else None
            )

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 11.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self._loop.run_until_complete(asyncio.sleep(seconds))

    @rule()
    def the_edge_is_killed_and_started_again(self) -> None:
        """What is free and was not written yet is lost; nothing else."""
        kept = {name_of(record) for record in self._spool._records} | self._ledger.records.keys() | self._aside
        self._settled = {name for name in self._settled if name[2] or name in kept}
        self._end()
        self._start()

    @invariant()
    def nothing_is_counted_that_was_not_settled_or_given_up(self) -> None:
        self.steps += 1
        for name, record in self._ledger.records.items():
            assert name in self._settled or (record.orphan and name in self._intended)
        assert not self._ledger.records.keys() & self._aside

    def teardown(self) -> None:
        """When all is well for long enough, everything has come."""
        self._ledger.failure = None
        self._loop.run_until_complete(asyncio.sleep(_LONGEST_S + 2 * _ORPHAN_S + 5))
        assert self._ledger.records.keys() | self._aside == self._settled | self._intended.keys()
        assert self._usage.backlog == 0
        assert not list(self._spool.intents())
        self._end()

    @property
    def _aside(self) -> set[Name]:
        return {name_of(record) for record, _ in self._spool.refused}

    async def _deliver_later(self, record: UsageRecord) -> None:
        self._usage.deliver_later(record)

    def _end(self) -> None:
        """All that is under way is gone, timers too."""
        self._running.cancel()
        self._loop.run_until_complete(asyncio.gather(self._running, return_exceptions=True))
        self._loop.close()

    def _start(self) -> None:
        self._loop = VirtualLoop(self._clock)
        self._usage = UsageDelivery(
            self._ledger,
            self._spool,
            prices=OrganizationPrices(_PRICES),
            clock=self._clock,
            random=Random(1),
            log=structlog.wrap_logger(structlog.testing.CapturingLogger(), []),
            orphan_settle_s=_ORPHAN_S,
            longest_call_s=_LONGEST_S,
        )
        self._running = self._loop.create_task(self._usage.run())
