"""Which budgets a call counts in, and the plans that billing is told them by."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.billing.v1.billing_pb2 import SpendingPlan, UsageRecord
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow, LearningPolicy

LEARNING = "learning"
"""What the month's limit for learning is per, among budgets."""
_TAG = "tag:"
_PLANS_KEPT = 10_000


def is_blocked_by_budget(verdict: Verdict, tags: Mapping[str, str]) -> bool:
    """Whether a budget that blocks applies to calls of this key with these tags."""
    policy = verdict.policy.budgets
    if not policy and not verdict.budgets:
        return False
    return any(_blocks(budget, tags) for budgets in (policy, verdict.budgets) for budget in budgets)


def plans_of(verdict: Verdict) -> list[SpendingPlan]:
    """The budgets of the organisation and of the key; none where neither ever had any."""
    plans = []
    if verdict.policy_version:
        learning = _learning_budgets(verdict.policy.learning)
        plans.append(_plan(verdict, "", [*verdict.policy.budgets, *learning]))
    if verdict.budgets:
        plans.append(_plan(verdict, verdict.api_key_id, verdict.budgets))
    return plans


class KnownPlans:
    """The newest plans of the organisations and keys that call here: what records are delivered with."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple[str, str], SpendingPlan] = OrderedDict()
        """By organisation and key; the organisation's own under an empty key. The one used last is last."""

    def note(self, verdict: Verdict) -> None:
        """Keeps the plans of a verdict, unless they are known."""
        if not verdict.policy_version and not verdict.budgets:
            return
        keys = [(verdict.organization_id, "")] + [(verdict.organization_id, verdict.api_key_id)] * bool(verdict.budgets)
        if all(self._version(key) >= verdict.policy_version for key in keys):
            return
        for plan in plans_of(verdict):
            self._plans[plan.organization_id, plan.api_key_id] = plan
        while len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)

    def of(self, records: Iterable[UsageRecord]) -> list[SpendingPlan]:
        """The plans that `records` count in, as far as they are known here."""
        payers = {(record.organization_id, key) for record in records for key in ("", record.api_key_id)}
        return [self._plans[payer] for payer in payers if payer in self._plans]

    def _version(self, key: tuple[str, str]) -> int:
        plan = self._plans.get(key)
        if plan is None:
            return -1
        self._plans.move_to_end(key)
        return plan.policy_version


def _learning_budgets(learning: LearningPolicy) -> list[Budget]:
    """What learning may cost in a calendar month, as a budget of the calls that have a purpose of their own."""
    if not learning.monthly_limit_nanos:
        return []
    return [
        Budget(
            per=LEARNING,
            window=BudgetWindow.BUDGET_WINDOW_MONTH,
            limit_nanos=learning.monthly_limit_nanos,
            action=BudgetAction.BUDGET_ACTION_BLOCK,
            timezone="UTC",
        )
    ]


def _blocks(budget: Budget, tags: Mapping[str, str]) -> bool:
    if budget.action != BudgetAction.BUDGET_ACTION_BLOCK:
        return False
    return not budget.per.startswith(_TAG) or budget.per.removeprefix(_TAG) in tags


def _plan(verdict: Verdict, api_key_id: str, budgets: Iterable[Budget]) -> SpendingPlan:
    return SpendingPlan(
        organization_id=verdict.organization_id,
        api_key_id=api_key_id,
        policy_version=verdict.policy_version,
        budgets=budgets,
        webhook_url=verdict.policy.alerts.webhook_url,
        timezone=verdict.policy.timezone,
        usage_days=verdict.policy.retention.usage_days,
    )
