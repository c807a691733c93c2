"""Holds of provider calls in budgets that block: taken before a call, renewed until billing has its record.

A hold outlives its call here for as long as its record waits: if it ended before, others could spend its money twice.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2 import CallKey, ReserveRequest, SpendingPlan, UsageRecord
from asahi.router.v1.router_pb2 import Attempt
from asahi_core.clock import Clock
from asahi_core.context import current_call
from asahi_core.errors import (
    AsahiError,
    BudgetReserved,
    DeadlineExceeded,
    InsufficientQuota,
    InvalidRequest,
    PriceUnknown,
    RequestTooLarge,
    ServiceUnavailable,
)
from asahi_edge.domain.budgets import KnownPlans, plans_of
from asahi_edge.domain.inference import InferenceRequest

_Key = tuple[str, str, int]
"""Organisation, request, attempt."""
LEASE_S = 60.0
"""How long billing keeps a hold that nobody renews."""
_RENEW_S = 20.0
_AGAIN_S = 1.0
_AT_ONCE = 500


class Budgets(Protocol):
    """Billing, as far as it keeps budgets. Raises `AsahiError`s only."""

    async def reserve(self, request: ReserveRequest, plans: Sequence[SpendingPlan]) -> None:
        """Holds a call's upper bound; raises InsufficientQuota or BudgetReserved where `plans` refuse it."""
        ...

    async def renew_holds(self, calls: Sequence[CallKey], lease_s: float) -> Sequence[CallKey]:
        """Prolongs holds; those that are not open any more."""
        ...

    async def release_hold(self, call: CallKey) -> None:
        """Gives back the hold of a call that was not made, also of one that arrives later."""
        ...

    async def record(self, records: Sequence[UsageRecord], plans: Sequence[SpendingPlan]) -> None:
        """Records usage durably, counted by `plans`; the record of a call replaces its hold."""
        ...


class Holds:
    """The holds that this edge owns. `run` must be running."""

    def __init__(self, budgets: Budgets, clock: Clock, log: FilteringBoundLogger, *, renew_s: float = _RENEW_S) -> None:
        self._budgets = budgets
        self._clock = clock
        self._log = log
        self._renew_s = renew_s
        self._held: set[_Key] = set()
        self._returning: dict[_Key, float] = {}
        """Holds to give back, with the clock's time at which they end by themselves."""
        self._returns = asyncio.Event()

    @property
    def open(self) -> int:
        """Holds of calls under way, and of those whose record is not delivered."""
        return len(self._held) + len(self._returning)

    async def take(self, request: InferenceRequest, attempt: Attempt) -> bool:
        """Holds the upper bound of a call that is about to be made.

        Returns:
            Whether it is held; False: billing cannot be reached, and the policy lets calls go on without it, but for
            those that answer nobody.

        Raises:
            InsufficientQuota, BudgetReserved: a budget refuses it.
            PriceUnknown: the call has no upper bound.
            ServiceUnavailable: billing cannot be reached.
        """
        if not attempt.HasField("max_cost_nanos"):
            message = f"What a call to {attempt.model!r} costs has no known bound, and a budget that blocks applies."
            raise PriceUnknown(message, param="model")
        key = (request.organization_id, request.request_id, attempt.attempt)
        await self._returned(key)
        self._held.add(key)
        try:
            await self._budgets.reserve(_reservation(request, attempt), plans_of(request.verdict))
        except (InsufficientQuota, BudgetReserved):
            self._held.discard(key)
            raise
        except AsahiError as error:
            if request.verdict.policy.fail_open_without_billing and not attempt.purpose:
                return False
            self._release(key)
            if isinstance(error, DeadlineExceeded) and _time_is_up():
                raise
            message = "The organization has a budget that blocks, and billing does not answer to check it; try again."
            raise ServiceUnavailable(message, retry_after_s=_AGAIN_S) from error
        except BaseException:
            self._release(key)
            raise
        return True

    def release(self, organization_id: str, request_id: str, attempt: int) -> None:
        """Gives back the hold of a call that was not made, or cost nothing: soon, and while billing may have it."""
        self._release((organization_id, request_id, attempt))

    def settled(self, records: Sequence[UsageRecord]) -> None:
        """Billing has the records: what they held is theirs."""
        if self._held:
            for record in records:
                self._held.discard((record.organization_id, record.request_id, record.attempt))

    async def run(self) -> None:
        """Renews and gives back, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew_always())
            tasks.create_task(self._give_back_always())

    async def close(self, timeout_s: float) -> None:
        """Gives back what is still to be given back; what is left ends with its lease."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._returning:
                    await self._give_back_all()

    def _release(self, key: _Key) -> None:
        if key in self._held:
            self._held.discard(key)
            self._returning[key] = self._clock.monotonic() + LEASE_S
            self._returns.set()

    async def _renew_always(self) -> None:
        pause_s = self._renew_s
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._renew_all()
                pause_s = self._renew_s
            except AsahiError as error:
                self._log.warning("holds_not_renewed", holds=len(self._held), error=error.message)
                pause_s = _AGAIN_S

    async def _renew_all(self) -> None:
        keys = list(self._held)
        for start in range(0, len(keys), _AT_ONCE):
            calls = [_call(key) for key in keys[start : start + _AT_ONCE]]
            for ended in await self._budgets.renew_holds(calls, LEASE_S):
                self._held.discard((ended.organization_id, ended.request_id, ended.attempt))

    async def _give_back_always(self) -> None:
        while True:
            await self._returns.wait()
            self._returns.clear()
            await self._give_back_all()
            if self._returning:
                await asyncio.sleep(_AGAIN_S)
                self._returns.set()

    async def _give_back_all(self) -> None:
        """Tries each once."""
        now = self._clock.monotonic()
        keys = list(self._returning)
        for start in range(0, len(keys), _AT_ONCE):
            await asyncio.gather(*(self._give_back(key, now) for key in keys[start : start + _AT_ONCE]))

    async def _give_back(self, key: _Key, now: float) -> None:
        try:
            await self._budgets.release_hold(_call(key))
        except AsahiError:
            if now < self._returning.get(key, now):
                return
        self._returning.pop(key, None)

    async def _returned(self, key: _Key) -> None:
        """Gives back what an earlier call of the same request held: it must not be in this one's way."""
        for other in [one for one in self._returning if one[:2] == key[:2]]:
            await self._give_back(other, self._clock.monotonic())


class BudgetedLedger:
    """Billing as the ledger of what was spent: told the budgets with each record, and an end to the record's hold."""

    def __init__(self, budgets: Budgets, plans: KnownPlans, holds: Holds) -> None:
        self._budgets = budgets
        self._plans = plans
        self._holds = holds

    async def record(self, records: Sequence[UsageRecord]) -> None:
        """Records usage durably; a record that is known already changes nothing."""
        try:
            await self._budgets.record(records, self._plans.of(records))
        except (InvalidRequest, RequestTooLarge):
            if len(records) == 1:
                self._holds.settled(records)  # it is set aside: its hold ends with its lease
            raise
        self._holds.settled(records)


def _reservation(request: InferenceRequest, attempt: Attempt) -> ReserveRequest:
    reservation = ReserveRequest(
        organization_id=request.organization_id,
        request_id=request.request_id,
        attempt=attempt.attempt,
        upper_bound_nanos=attempt.max_cost_nanos,
        api_key_id=request.verdict.api_key_id,
        user_id=request.user_id,
        tags=request.tags,
        purpose=attempt.purpose,
    )
    reservation.lease.FromNanoseconds(int(LEASE_S * 1e9))
    return reservation


def _call(key: _Key) -> CallKey:
    organization_id, request_id, attempt = key
    return CallKey(organization_id=organization_id, request_id=request_id, attempt=attempt)


def _time_is_up() -> bool:
    deadline = current_call.get().deadline
    return deadline is not None and asyncio.get_running_loop().time() >= deadline
