"""Double entry for budgets: what holding, settling and releasing does to accounts, in plain memory.

A `Book` is the part of the ledger that a transaction needs: what was read goes in, operations run one after the
other, and what has to be written comes out. The store sees to it that nobody else changes the same organisations
meanwhile. Entries are never changed, and a kind of entry exists at most once for a call and an account.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from asahi.billing.v1.billing_pb2 import ReserveRequest, SpendingPlan, UsageRecord
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow
from asahi_billing.domain import plans as rules
from asahi_billing.domain.plans import AccountKey, Call, PlanKey
from asahi_billing.domain.windows import Calendar
from asahi_core.errors import AsahiError, BudgetReserved, InsufficientQuota, VersionConflict
from asahi_core.money import dollars

_RETRY_AFTER_S = 1.0
_NANOS = 1_000_000_000


class HoldState(StrEnum):
    """What became of a hold."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class EntryKind(StrEnum):
    """What an entry is for."""

    HOLD = "hold"
    HOLD_RELEASED = "hold_released"
    HOLD_EXPIRED = "hold_expired"
    SPEND = "spend"


@dataclass(frozen=True, slots=True)
class Hold:
    """An upper bound that is set aside for a call, in nano-dollars; times in ns since 1970."""

    call: Call
    nanos: int
    held_at_ns: int
    expires_at_ns: int
    state: HoldState


@dataclass(frozen=True, slots=True)
class Entry:
    """What an event of a call changed in an account, in nano-dollars."""

    call: Call
    kind: str
    """An `EntryKind`, or the name of a repricing."""
    account_id: str
    spent_nanos: int
    reserved_nanos: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a repricing adds to a recorded cost, in nano-dollars."""

    record: UsageRecord
    """Of the call; as it was recorded."""
    repricing_id: str
    nanos: int
    price_version: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account's entries add up to, in nano-dollars."""

    spent_nanos: int = 0
    reserved_nanos: int = 0

    def __add__(self, other: "Balance") -> "Balance":
        return Balance(self.spent_nanos + other.spent_nanos, self.reserved_nanos + other.reserved_nanos)


class Book:
    """The accounts and holds of some organisations while a transaction works on them."""

    def __init__(self, calendar: Calendar, now_ns: int) -> None:
        self.calendar = calendar
        self.now_ns = now_ns
        self.plans: dict[PlanKey, SpendingPlan] = {}
        """As kept, and as told in this transaction where that is newer."""
        self.balances: dict[str, Balance] = {}
        """Of accounts that reservations are checked against; those that are missing have nothing on them."""
        self.holds: dict[Call, Hold] = {}
        self.held: dict[Call, dict[str, int]] = {}
        """What the holds reserve, by account."""
        self.recorded: set[Call] = set()
        """Calls that have a usage record."""
        self.spent: dict[Call, set[str]] = {}
        """The accounts that recorded calls count in; of calls that are repriced only."""
        self.adjusted: dict[Call, int] = {}
        """What repricings have added to their costs already."""
        self.adjustments: list[Adjustment] = []
        """Adjustments to add."""
        self.told: dict[PlanKey, SpendingPlan] = {}
        """Plans to keep."""
        self.changed_holds: dict[Call, Hold] = {}
        self.entries: list[Entry] = []
        """Entries to add."""
        self.changes: dict[str, Balance] = {}
        """What to add to accounts."""
        self.named: dict[str, AccountKey] = {}
        """Accounts that `changes` may have to make."""

    def tell(self, plan: SpendingPlan) -> None:
        """Keeps a checked plan unless it is older than the one that is known."""
        key = rules.plan_key(plan)
        known = self.plans.get(key)
        if known is None or (plan.policy_version >= known.policy_version and plan != known):
            self.plans[key] = self.told[key] = plan

    def accounts(self, source: UsageRecord | ReserveRequest, at_ns: int) -> list[tuple[AccountKey, Budget]]:
        """The accounts that a call counts in at an instant, with the budgets that say so."""
        payer = rules.payer_of(source)
        own = [self.plans.get((payer.organization_id, key)) for key in dict.fromkeys(("", payer.api_key_id))]
        found = rules.applying((plan for plan in own if plan is not None), payer)
        return [(rules.account(plan, budget, who, self.calendar, at_ns), budget) for plan, budget, who in found]

    def reserve(self, request: ReserveRequest, lease_ns: int) -> int | AsahiError:
        """Holds the upper bound; until when (ns since 1970), or why not."""
        call = Call(request.organization_id, request.request_id, request.attempt)
        known = self.holds.get(call)
        if known is not None and known.state is HoldState.OPEN:
            return known.expires_at_ns
        if known is not None or call in self.recorded:
            state = HoldState.SETTLED if known is None else known.state
            return VersionConflict(f"Attempt {call.attempt} of this request is {state} already; take another number.")
        bound = request.upper_bound_nanos
        blocking = [one for one in self.accounts(request, self.now_ns) if _blocks(one[1])]
        refusal = self._refusal(blocking, bound)
        if refusal is not None:
            return refusal
        hold = Hold(call, bound, self.now_ns, self.now_ns + lease_ns, HoldState.OPEN)
        self._keep(hold)
        self.held[call] = {}
        for key, _ in blocking:
            account_id = key.id
            if account_id not in self.held[call]:
                self.held[call][account_id] = bound
                self.named[account_id] = key
                self._post(Entry(call, EntryKind.HOLD, account_id, 0, bound, self.now_ns))
        return hold.expires_at_ns

    def renew(self, call: Call, lease_ns: int) -> bool:
        """Prolongs an open hold; False: there is none."""
        hold = self._open(call)
        if hold is None:
            return False
        self._keep(replace(hold, expires_at_ns=max(hold.expires_at_ns, self.now_ns + lease_ns)))
        return True

    def release(self, call: Call) -> bool:
        """Gives an open hold back, and bars later ones of the same call; False: there was none."""
        if call not in self.holds and call not in self.recorded:
            self._keep(Hold(call, 0, self.now_ns, self.now_ns, HoldState.RELEASED))
        return self._end(call, HoldState.RELEASED, EntryKind.HOLD_RELEASED)

    def expire(self, call: Call) -> bool:
        """Ends an open hold whose lease is over; False: it is not, or the hold is not open."""
        hold = self._open(call)
        if hold is None or hold.expires_at_ns > self.now_ns:
            return False
        return self._end(call, HoldState.EXPIRED, EntryKind.HOLD_EXPIRED)

    def settle(self, record: UsageRecord) -> None:
        """Counts a new record's cost in every budget that applies, and in place of its hold where it has one.

        A call counts in the windows in which it was held; without a hold, in those in which it was answered.
        """
        call = call_of(record)
        if call in self.recorded:
            return
        self.recorded.add(call)
        hold = self.holds.get(call)
        named = {key.id: key for key in self._spending(record, hold)}
        self.named |= named
        held = self.held.get(call, {})
        back = held if self._open(call) is not None else {}
        for account_id in dict.fromkeys((*held, *named)):
            cost, reserved = record.cost_nanos, -back.get(account_id, 0)
            if cost or reserved:
                self._post(Entry(call, EntryKind.SPEND, account_id, cost, reserved, self.now_ns))
        if hold is not None and hold.state is HoldState.OPEN:
            self._keep(replace(hold, state=HoldState.SETTLED))

    def reprice(self, record: UsageRecord, cost_nanos: int, repricing_id: str, price_version: str) -> int:
        """Books what a recorded call costs now against what it costs so far; by how much, in nano-dollars.

        It counts in the accounts in which the call counts; a call that cost nothing, in those that it would count in.
        """
        call = call_of(record)
        nanos = cost_nanos - record.cost_nanos - self.adjusted.get(call, 0)
        if not nanos:
            return 0
        accounts = self.spent.get(call, set())
        if not accounts and not record.cost_nanos:
            named = {key.id: key for key in self._spending(record, self.holds.get(call))}
            self.named |= named
            accounts = set(named)
        for account_id in sorted(accounts):
            self._post(Entry(call, repricing_id, account_id, nanos, 0, self.now_ns))
        self.adjustments.append(Adjustment(record, repricing_id, nanos, price_version))
        self.adjusted[call] = self.adjusted.get(call, 0) + nanos
        return nanos

    def _refusal(self, blocking: Iterable[tuple[AccountKey, Budget]], bound: int) -> AsahiError | None:
        waiting: AsahiError | None = None
        for key, budget in blocking:
            balance = self.balances.get(key.id, Balance())
            if balance.spent_nanos + bound > budget.limit_nanos or balance.spent_nanos >= budget.limit_nanos:
                return InsufficientQuota(_spent(key, budget, balance, bound))
            if balance.spent_nanos + balance.reserved_nanos + bound > budget.limit_nanos:
                waiting = waiting or BudgetReserved(_waiting(key, budget, balance), retry_after_s=_RETRY_AFTER_S)
        return waiting

    def _spending(self, record: UsageRecord, hold: Hold | None) -> list[AccountKey]:
        """The accounts of the budgets that a record counts in."""
        held = hold is not None and (hold.nanos or hold.state is not HoldState.RELEASED)
        at_ns = hold.held_at_ns if hold is not None and held else record.occurred_at.ToNanoseconds()
        return [key for key, _ in self.accounts(record, at_ns)]

    def _open(self, call: Call) -> Hold | None:
        hold = self.holds.get(call)
        return hold if hold is not None and hold.state is HoldState.OPEN else None

    def _end(self, call: Call, state: HoldState, kind: EntryKind) -> bool:
        hold = self._open(call)
        if hold is None:
            return False
        for account_id, nanos in self.held.get(call, {}).items():
            self._post(Entry(call, kind, account_id, 0, -nanos, self.now_ns))
        self._keep(replace(hold, state=state))
        return True

    def _keep(self, hold: Hold) -> None:
        self.holds[hold.call] = self.changed_holds[hold.call] = hold

    def _post(self, entry: Entry) -> None:
        change = Balance(entry.spent_nanos, entry.reserved_nanos)
        self.entries.append(entry)
        self.balances[entry.account_id] = self.balances.get(entry.account_id, Balance()) + change
        self.changes[entry.account_id] = self.changes.get(entry.account_id, Balance()) + change


def call_of(record: UsageRecord) -> Call:
    """The provider call that a record is of."""
    return Call(record.organization_id, record.request_id, record.attempt)


def describe(key: AccountKey, budget: Budget) -> str:
    """The budget in a person's words."""
    window = BudgetWindow.Name(budget.window).removeprefix("BUDGET_WINDOW_").lower()
    whose = "key's own" if key.api_key_id else "organization's"
    return f"the {whose} budget of {dollars(budget.limit_nanos)} $ a {window} per {budget.per}"


def _blocks(budget: Budget) -> bool:
    return bool(budget.action == BudgetAction.BUDGET_ACTION_BLOCK)


def _until(key: AccountKey) -> str:
    return datetime.fromtimestamp(key.span.end_ns // _NANOS, UTC).isoformat().replace("+00:00", "Z")


def _spent(key: AccountKey, budget: Budget, balance: Balance, bound: int) -> str:
    return (
        f"Of {describe(key, budget)}, {dollars(balance.spent_nanos)} $ are spent, and this call may cost up to "
        f"{dollars(bound)} $. It begins anew at {_until(key)}."
    )


def _waiting(key: AccountKey, budget: Budget, balance: Balance) -> str:
    return (
        f"Of {describe(key, budget)}, {dollars(balance.spent_nanos)} $ are spent and "
        f"{dollars(balance.reserved_nanos)} $ are held by calls under way; try again when they have ended."
    )
