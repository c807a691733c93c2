"""Any interleaving of what can happen to holds and records, against a model that keeps nothing but a list of calls."""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import event

from asahi.billing.v1.billing_pb2 import ReserveRequest, SpendingPlan, UsageRecord
from asahi.type.v1.policy_pb2 import BudgetWindow
from asahi_billing.domain.plans import Call
from asahi_core.clock import ManualClock
from asahi_core.errors import AsahiError, BudgetReserved, InsufficientQuota, InternalError, VersionConflict
from asahi_core.sql.databases import database_at
from services.billing.tests.books import Books, budget, hold, open_books, plan
from services.billing.tests.records import NOON, ORGANIZATION, call, request_id

LIMIT = 1_000
_LEASE_S = 60
_HOUR_S, _DAY_S = 3_600, 86_400
_numbers = st.integers(0, 25)
_amounts = st.integers(0, 400)


def _plan() -> SpendingPlan:
    return plan(
        budget("organization", limit_nanos=LIMIT),
        budget("key", limit_nanos=LIMIT // 2, window=BudgetWindow.BUDGET_WINDOW_HOUR),
        budget("user", limit_nanos=LIMIT, blocks=False),
    )


_WINDOWS = {"organization": _DAY_S, "key": _HOUR_S, "user": _DAY_S}
_BLOCKING = {"organization": LIMIT, "key": LIMIT // 2}


@dataclass
class _Fate:
    """What the model knows of a call. Times in seconds since 1970."""

    bound: int = 0
    held_at: float | None = None
    expires_at: float = 0.0
    state: str = "none"
    cost: int | None = None
    occurred_at: float = 0.0

    @property
    def counts_at(self) -> float:
        return self.occurred_at if self.held_at is None else self.held_at


class LedgerSteps(RuleBasedStateMachine):
    """Compares every answer and every total with the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._folder = TemporaryDirectory(prefix="asahi-steps-")
        self._runner = asyncio.Runner()
        self._clock = ManualClock(NOON)
        self._fates: dict[int, _Fate] = {}
        self._records: dict[int, UsageRecord] = {}
        self._stack = AsyncExitStack()
        self._books = self._open()

    def teardown(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()
        self._folder.cleanup()

    @initialize()
    def the_plan_is_told(self) -> None:
        assert self._record([self._record_of(1000, 0)]) == 1

    @rule(number=_numbers, bound=_amounts)
    def reserve(self, number: int, bound: int) -> None:
        self._check_reservation(number, bound)

    @rule(numbers=st.lists(_numbers, min_size=1, max_size=4))
    def renew(self, numbers: list[int]) -> None:
        calls = [_key(number) for number in numbers]
        _, ended = self._runner.run(self._books.spending.renew(calls, _LEASE_S * 10**9))
        is_open = [self._fate(number).state == "open" for number in numbers]
        assert ended == [key for key, renewed in zip(calls, is_open, strict=True) if not renewed]
        for number in numbers:
            if self._fate(number).state == "open":
                self._fate(number).expires_at = self._now() + _LEASE_S

    @rule(number=_numbers)
    def release(self, number: int) -> None:
        fate = self._fate(number)
        assert self._runner.run(self._books.spending.release(_key(number))) == (fate.state == "open")
        if fate.state == "open" or (fate.state == "none" and fate.cost is None):
            fate.state = "released"

    @rule(batch=st.lists(st.tuples(_numbers, _amounts), min_size=1, max_size=5), seed=st.integers(0, 99))
    def settle(self, batch: list[tuple[int, int]], seed: int) -> None:
        """New records, old ones again, twice in a call, in any order."""
        records = [self._record_of(number, cost) for number, cost in batch]
        random.Random(seed).shuffle(records)
        new = {record.request_id for record in records} - self._known()
        assert self._record(records) == len(new)

    @rule(seconds=st.sampled_from([1, 20, 59, 61, 600, 3_600, 40_000]), swept=st.booleans())
    def time_passes(self, seconds: int, swept: bool) -> None:
        self._clock.advance(seconds)
        if not swept:
            return
        overdue = [f for f in self._fates.values() if f.state == "open" and f.expires_at <= self._now()]
        assert self._runner.run(self._books.spending.expire()) == len(overdue)
        for fate in overdue:
            fate.state = "expired"

    @rule(number=_numbers, amount=_amounts, holds=st.booleans())
    def crash_before_the_commit_and_replay(self, number: int, amount: int, holds: bool) -> None:
        """Whatever was under way is as if it had never been; said again, it is done."""
        record = self._record_of(number, amount)
        self._fail_next_commit()
        try:
            if holds:
                self._runner.run(self._books.spending.reserve(_request(number, amount), _LEASE_S * 10**9))
            else:
                self._runner.run(self._books.ledger.record([record], [_plan()]))
        except InternalError:
            pass
        else:
            raise AssertionError("the commit did not fail")
        self._reopen()
        if holds:
            self._check_reservation(number, amount)
        else:
            new = record.request_id not in self._known()
            assert self._record([record]) == new

    @rule()
    def everything_is_replayed_after_a_restart(self) -> None:
        self._reopen()
        known = [self._records[number] for number, fate in self._fates.items() if fate.cost is not None]
        if known:
            assert self._record(known) == 0

    @invariant()
    def totals_are_what_the_model_says(self) -> None:
        self.steps += 1
        states = self._runner.run(self._books.spending.budgets(ORGANIZATION, "key_1", "ann"))
        assert len(states) == len(_WINDOWS)
        for state in states:
            expected = self._balance(state.budget.per)
            assert (state.spent_nanos, state.reserved_nanos) == expected, state.budget.per
        found = self._runner.run(self._books.spending.check(""))
        assert not found.breaks, found.breaks
        assert found.open_holds == sum(fate.state == "open" for fate in self._fates.values())

    def _check_reservation(self, number: int, bound: int) -> None:
        fate, refusal = self._fate(number), self._refusal(number, bound)
        holding = self._books.spending.reserve(_request(number, bound), _LEASE_S * 10**9)
        if refusal is not None:
            with pytest.raises(refusal) as refused:
                self._runner.run(holding)
            assert type(refused.value) is refusal
            return
        self._runner.run(holding)
        if fate.state == "none":
            fate.state, fate.bound, fate.held_at = "open", bound, self._now()
            fate.expires_at = self._now() + _LEASE_S

    def _refusal(self, number: int, bound: int) -> type[AsahiError] | None:
        fate = self._fate(number)
        if fate.state == "open":
            return None
        if fate.state != "none" or fate.cost is not None:
            return VersionConflict
        balances = {per: self._balance(per) for per in _BLOCKING}
        if any(s + bound > _BLOCKING[per] or s >= _BLOCKING[per] for per, (s, _) in balances.items()):
            return InsufficientQuota
        if any(s + reserved + bound > _BLOCKING[per] for per, (s, reserved) in balances.items()):
            return BudgetReserved
        return None

    def _balance(self, per: str) -> tuple[int, int]:
        """Spent and reserved in the present window."""
        length = _WINDOWS[per]
        here = [f for f in self._fates.values() if f.counts_at // length == self._now() // length]
        reserved = sum(f.bound for f in here if f.state == "open") if per in _BLOCKING else 0
        return sum(f.cost or 0 for f in here), reserved

    def _record(self, records: list[UsageRecord]) -> int:
        """Records, here and in the model; how many were new."""
        recorded = self._runner.run(self._books.ledger.record(records, [_plan()]))
        for number, record in self._records.items():
            fate = self._fate(number)
            if fate.cost is None and any(record.request_id == one.request_id for one in records):
                fate.cost, fate.occurred_at = record.cost_nanos, record.occurred_at.ToNanoseconds() / 10**9
                fate.state = "settled" if fate.state == "open" else fate.state
        return recorded.new

    def _known(self) -> set[str]:
        return {request_id(number) for number, fate in self._fates.items() if fate.cost is not None}

    def _record_of(self, number: int, cost: int) -> UsageRecord:
        """The record of a call: always the same once it was made."""
        if number not in self._records:
            seconds = self._clock.monotonic()
            own = call(number, seconds=seconds, cost_nanos=cost, price_version="steps", user_id="ann")
            self._records[number] = own
        return self._records[number]

    def _fate(self, number: int) -> _Fate:
        return self._fates.setdefault(number, _Fate())

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _open(self) -> Books:
        database = database_at("", Path(self._folder.name) / "billing.db")
        return self._runner.run(self._stack.enter_async_context(open_books(database, self._clock)))

    def _reopen(self) -> None:
        self._runner.run(self._stack.aclose())
        self._books = self._open()

    def _fail_next_commit(self) -> None:
        def fail(_connection: object) -> None:
            raise RuntimeError("killed before the commit")

        event.listen(self._books.writer, "commit", fail, once=True)


def _request(number: int, bound: int) -> ReserveRequest:
    request = hold(number, bound, _plan())
    request.user_id = "ann"
    return request


def _key(number: int) -> Call:
    return Call(ORGANIZATION, request_id(number), 1)
