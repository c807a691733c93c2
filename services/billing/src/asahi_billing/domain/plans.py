"""Which budgets a call counts in, and the accounts that they are kept in."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from asahi.billing.v1.billing_pb2 import ReserveRequest, SpendingPlan, UsageRecord
from asahi.type.v1.policy_pb2 import Budget, BudgetAction
from asahi_billing.domain.rules import MAX_COST_NANOS, MAX_ID_CHARACTERS
from asahi_billing.domain.store import Span
from asahi_billing.domain.windows import Calendar, window_at
from asahi_core.errors import InvalidRequest

MAX_BUDGETS = 100
LEARNING = "learning"
"""What a budget is per that counts only calls with a purpose of their own."""
_TAG = "tag:"
LONGEST_SUBJECT = 256
ERASED = "\ufffderased "
"""How the subject of an account begins whose subject was erased: no record has such a value."""
PlanKey = tuple[str, str]
"""Organisation, and key (empty: the organisation's own plan)."""


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """A provider call."""

    organization_id: str
    request_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Payer:
    """Who is behind a call."""

    organization_id: str
    api_key_id: str
    user_id: str
    tags: Mapping[str, str]
    learns: bool
    """Whether the call was made to learn from, and answers nobody."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """What an account is of. Budgets that differ in limit or action alone share one."""

    organization_id: str
    api_key_id: str
    """The key whose own budget it is; empty: the organisation's."""
    per: str
    subject: str
    window: int
    timezone: str
    span: Span

    @property
    def id(self) -> str:
        """Names the account: a digest of all that it is of."""
        parts = (
            *(self.organization_id, self.api_key_id, self.per, self.subject, str(self.window), self.timezone),
            str(self.span.start_ns),
        )
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def payer_of(source: UsageRecord | ReserveRequest) -> Payer:
    """Who is behind a record or a reservation."""
    return Payer(source.organization_id, source.api_key_id, source.user_id, source.tags, bool(source.purpose))


def plan_key(plan: SpendingPlan) -> PlanKey:
    """Whose plan it is."""
    return plan.organization_id, plan.api_key_id


def check_plan(plan: SpendingPlan, place: str) -> None:
    """Raises InvalidRequest where `plan` (found at `place`) cannot be counted by."""
    for field, value in (("organization_id", plan.organization_id), ("api_key_id", plan.api_key_id)):
        if len(value) > MAX_ID_CHARACTERS or "\0" in value:
            raise InvalidRequest(f"{place}.{field} is no id.", param=f"{place}.{field}")
    if not plan.organization_id:
        raise InvalidRequest(f"{place}.organization_id is missing.", param=f"{place}.organization_id")
    if len(plan.budgets) > MAX_BUDGETS:
        message = f"{place}.budgets has {len(plan.budgets)} entries; it takes at most {MAX_BUDGETS}."
        raise InvalidRequest(message, param=f"{place}.budgets")
    for index, budget in enumerate(plan.budgets):
        for field, problem in _faults(budget, plan.timezone):
            at = f"{place}.budgets[{index}].{field}"
            raise InvalidRequest(f"{at} {problem}.", param=at)


def applying(plans: Iterable[SpendingPlan], payer: Payer) -> Iterator[tuple[SpendingPlan, Budget, str]]:
    """The budgets that a payer's calls count in, each with its plan and subject."""
    for plan in plans:
        if plan.organization_id != payer.organization_id or plan.api_key_id not in ("", payer.api_key_id):
            continue
        for budget in plan.budgets:
            subject = _subject(budget.per, payer)
            if subject is not None:
                yield plan, budget, subject


def account(plan: SpendingPlan, budget: Budget, subject: str, calendar: Calendar, at_ns: int) -> AccountKey:
    """The account of a checked plan's budget for `subject` at an instant."""
    timezone = budget.timezone or plan.timezone or "UTC"
    span = calendar.window(budget.window, timezone, at_ns)
    return AccountKey(plan.organization_id, plan.api_key_id, budget.per, subject, int(budget.window), timezone, span)


def _subject(per: str, payer: Payer) -> str | None:
    """Whom a budget's figures are of; None: it does not apply to this payer."""
    if per == "organization" or (per == LEARNING and payer.learns):
        return payer.organization_id
    if per == LEARNING:
        return None
    if per == "key":
        return payer.api_key_id
    value = payer.user_id if per == "user" else payer.tags.get(per.removeprefix(_TAG))
    # As in the usage records, a zero character is kept as U+FFFD; PostgreSQL has none.
    return None if value is None else value.replace("\0", "\ufffd")[:LONGEST_SUBJECT]


def _faults(budget: Budget, timezone: str) -> Iterator[tuple[str, str]]:
    named = budget.per.startswith(_TAG) and len(budget.per) > len(_TAG) and "\0" not in budget.per
    if budget.per not in ("organization", "key", "user", LEARNING) and not named:
        yield "per", f"is {budget.per[:60]!r}; it takes organization, key, user, tag:NAME or learning"
    if budget.action not in (BudgetAction.BUDGET_ACTION_ALERT, BudgetAction.BUDGET_ACTION_BLOCK):
        yield "action", f"is {budget.action}; it takes alert or block"
    if not 0 < budget.limit_nanos <= MAX_COST_NANOS * 1000:
        yield "limit_nanos", f"is {budget.limit_nanos}; it takes 1 to {MAX_COST_NANOS * 1000}"
    if not all(math.isfinite(share) and 0 < share <= 1 for share in budget.alert_at):
        yield "alert_at", "has a share that is not above 0 and at most 1"
    try:
        window_at(budget.window, budget.timezone or timezone, 0)
    except ValueError as error:
        yield "window", f"or its time zone is wrong: {error}"
