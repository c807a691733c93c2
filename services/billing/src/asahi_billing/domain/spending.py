"""Budgets as callers know them: hold before a call, renew while it runs, release, see what is left."""

from collections.abc import Sequence

from asahi.billing.v1.billing_pb2 import (
    BudgetState,
    CheckLedgerResponse,
    LedgerBreak,
    ReserveRequest,
    SpendingPlan,
)
from asahi.type.v1.policy_pb2 import Budget
from asahi_billing.domain.book import Balance
from asahi_billing.domain.operations import Expire, Release, Renew, Reservation, Reserve
from asahi_billing.domain.plans import AccountKey, Call, account, check_plan
from asahi_billing.domain.rules import MAX_COST_NANOS, MAX_RECORDS, id_faults
from asahi_billing.domain.spending_store import SpendingStore
from asahi_billing.domain.windows import Calendar
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, InternalError, InvalidRequest

_NANOS = 1_000_000_000
DEFAULT_LEASE_NS = 60 * _NANOS
MOST_STATES = 1000
MOST_BREAKS = 1000
_EXPIRED_AT_ONCE = 500


class Spending:
    """Checks what is asked of a `SpendingStore`."""

    def __init__(self, store: SpendingStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.expired = 0
        """Holds that ended because nobody renewed them."""
        self.breaks: int | None = None
        """What the last check of the whole ledger found; None: there was none yet."""

    async def reserve(self, request: ReserveRequest, lease_ns: int) -> int:
        """Holds the upper bound; until when, ns since 1970.

        Raises:
            InvalidRequest: it cannot be understood.
            InsufficientQuota: a budget is spent.
            BudgetReserved: the holds of calls under way are in the way.
            VersionConflict: the call's hold has ended, or it is recorded.
            Overloaded, ServiceUnavailable: as `Ledger.record`.
        """
        (outcome,) = await self.reserve_many([(request, lease_ns)])
        if isinstance(outcome, AsahiError):
            raise outcome
        return outcome

    async def reserve_many(
        self, requests: Sequence[tuple[ReserveRequest, int]], plans: Sequence[SpendingPlan] = ()
    ) -> list[int | AsahiError]:
        """Holds upper bounds for so many ns each, in their order; of each until when, or what `reserve` would raise.

        Each is held against its own plans, and against those of `plans` that are of its organisation and key.

        Raises:
            InvalidRequest: none, or too many at once.
            Overloaded, ServiceUnavailable: as `Ledger.record`; they may or may not be held.
        """
        if not 1 <= len(requests) <= MAX_RECORDS:
            message = f"reservations has {len(requests)} entries; it takes 1 to {MAX_RECORDS}."
            raise InvalidRequest(message, param="reservations")
        shared = [(plan, _fault_of(plan, f"plans[{index}]")) for index, plan in enumerate(plans)]
        checked = [self._checked(request, lease_ns, shared) for request, lease_ns in requests]
        usable = [one for one in checked if isinstance(one, Reservation)]
        held = iter(await self._hold(usable) if usable else ())
        return [next(held) if isinstance(one, Reservation) else one for one in checked]

    async def _hold(self, reservations: Sequence[Reservation]) -> list[int | AsahiError]:
        """Holds them in one transaction; one by one where the store fails on one of them."""
        try:
            held: list[int | AsahiError] = await self._store.run(Reserve(reservations))
        except InternalError as error:
            if len(reservations) == 1:
                return [error]
            return [outcome for one in reservations for outcome in await self._hold([one])]
        return held

    def _checked(
        self, request: ReserveRequest, lease_ns: int, shared: Sequence[tuple[SpendingPlan, InvalidRequest | None]]
    ) -> Reservation | InvalidRequest:
        """The reservation, or what is wrong with it; `shared` plans come with what is wrong with them."""
        try:
            self._check_call(Call(request.organization_id, request.request_id, request.attempt), "")
            _check_lease(lease_ns)
            if not 0 <= request.upper_bound_nanos <= MAX_COST_NANOS:
                message = f"upper_bound_nanos is {request.upper_bound_nanos}; it takes 0 to {MAX_COST_NANOS}."
                raise InvalidRequest(message, param="upper_bound_nanos")
            for index, plan in enumerate(request.plans):
                check_plan(plan, f"plans[{index}]")
                if not _is_of(plan, request):
                    message = f"plans[{index}] is not of this organization and key."
                    raise InvalidRequest(message, param=f"plans[{index}]")
            plans = list(request.plans)
            for plan, fault in shared:
                if _is_of(plan, request):
                    if fault is not None:
                        raise fault
                    plans.append(plan)
            if not plans:
                message = "plans is empty: a hold needs the budgets that it is held against."
                raise InvalidRequest(message, param="plans")
        except InvalidRequest as error:
            return error
        return Reservation(request, plans, lease_ns)

    async def renew(self, calls: Sequence[Call], lease_ns: int) -> tuple[int, list[Call]]:
        """Prolongs holds; until when (ns since 1970), and the calls that have no open one.

        Raises:
            InvalidRequest: it cannot be understood.
        """
        if not 1 <= len(calls) <= MAX_RECORDS:
            raise InvalidRequest(f"calls has {len(calls)} entries; it takes 1 to {MAX_RECORDS}.", param="calls")
        for index, call in enumerate(calls):
            self._check_call(call, f"calls[{index}].")
        _check_lease(lease_ns)
        renewed: tuple[int, list[Call]] = await self._store.run(Renew(calls, lease_ns))
        return renewed

    async def release(self, call: Call) -> bool:
        """Gives back the hold of a call that was not made; whether there was one.

        Raises:
            InvalidRequest: it cannot be understood.
        """
        self._check_call(call, "call.")
        released: bool = await self._store.run(Release(call))
        return released

    async def expire(self) -> int:
        """Ends holds whose lease is over; how many."""
        expired = 0
        while calls := await self._store.overdue(self._now_ns(), _EXPIRED_AT_ONCE):
            expired += await self._store.run(Expire(calls))
            if len(calls) < _EXPIRED_AT_ONCE:
                break
        self.expired += expired
        return expired

    async def budgets(self, organization_id: str, api_key_id: str, user_id: str) -> list[BudgetState]:
        """How the organisation's budgets stand now; of one key, one user, if they are given.

        Raises:
            InvalidRequest: no organisation.
        """
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        now_ns, calendar = self._now_ns(), Calendar()
        plans, balances = await self._store.standing(organization_id, now_ns, MOST_STATES)
        wanted = {"organization": organization_id, "key": api_key_id, "user": user_id}
        states = []
        for plan in plans:
            if api_key_id and plan.api_key_id not in ("", api_key_id):
                continue
            for budget in plan.budgets:
                subjects = {key.subject for key in balances if _of(key, plan, budget)}
                asked = wanted.get(budget.per) or (plan.api_key_id if budget.per == "key" else "")
                for subject in sorted({asked} if asked else subjects):
                    key = account(plan, budget, subject, calendar, now_ns)
                    states.append(_state(key, budget, balances.get(key, Balance())))
        return states[:MOST_STATES]

    async def check(self, organization_id: str) -> CheckLedgerResponse:
        """Adds up every entry of an organisation (empty: of all) and names what does not agree."""
        found = await self._store.check(organization_id, MOST_BREAKS)
        if not organization_id:
            self.breaks = len(found.breaks)
        return CheckLedgerResponse(
            accounts=found.accounts,
            entries=found.entries,
            open_holds=found.open_holds,
            breaks=[
                LedgerBreak(
                    figure=one.figure,
                    organization_id=one.organization_id,
                    place=one.place,
                    expected_nanos=one.expected_nanos,
                    found_nanos=one.found_nanos,
                )
                for one in found.breaks
            ],
        )

    def _check_call(self, call: Call, place: str) -> None:
        for field, problem in id_faults(call.organization_id, call.request_id):
            raise InvalidRequest(f"{place}{field} {problem}.", param=f"{place}{field}")
        if call.attempt < 1:
            message = f"{place}attempt is {call.attempt}; provider calls are numbered from 1."
            raise InvalidRequest(message, param=f"{place}attempt")

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * _NANOS)


def _fault_of(plan: SpendingPlan, place: str) -> InvalidRequest | None:
    try:
        check_plan(plan, place)
    except InvalidRequest as error:
        return error
    return None


def _is_of(plan: SpendingPlan, request: ReserveRequest) -> bool:
    return plan.organization_id == request.organization_id and plan.api_key_id in ("", request.api_key_id)


def _check_lease(lease_ns: int) -> None:
    if not _NANOS <= lease_ns <= 3600 * _NANOS:
        raise InvalidRequest(f"lease is {lease_ns / _NANOS:g} s; it takes 1 s to 1 h.", param="lease")


def _of(key: AccountKey, plan: SpendingPlan, budget: Budget) -> bool:
    timezone = budget.timezone or plan.timezone or "UTC"
    return (key.api_key_id, key.per, key.window, key.timezone) == (
        *(plan.api_key_id, budget.per, budget.window),
        timezone,
    )


def _state(key: AccountKey, budget: Budget, balance: Balance) -> BudgetState:
    state = BudgetState(
        budget=budget,
        api_key_id=key.api_key_id,
        subject=key.subject,
        spent_nanos=balance.spent_nanos,
        reserved_nanos=balance.reserved_nanos,
        left_nanos=budget.limit_nanos - balance.spent_nanos - balance.reserved_nanos,
    )
    state.window_start.FromNanoseconds(key.span.start_ns)
    state.window_end.FromNanoseconds(key.span.end_ns)
    return state
