"""Budgets as callers write them and as services do."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from msgspec import structs

from asahi.billing.v1.billing_pb2 import BudgetState
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow
from asahi_core.errors import InvalidRequest
from asahi_core.money import nanos_from_dollars
from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.governance.budgets import BudgetBody, BudgetStanding, BudgetView
from asahi_edge.api.times import rfc3339


def budget_messages(budgets: Iterable[BudgetBody]) -> list[Budget]:
    """The budgets as messages; raises InvalidRequest for a limit with more than nine decimals."""
    return [
        Budget(
            per=one.per,
            window=BudgetWindow.Value(f"BUDGET_WINDOW_{one.window.upper()}"),
            limit_nanos=_nanos(one.limit_usd, f"budgets[{index}].limit_usd"),
            action=BudgetAction.Value(f"BUDGET_ACTION_{one.action.upper()}"),
            alert_at=one.alert_at or (),
            timezone=one.timezone or "",
        )
        for index, one in enumerate(budgets)
    ]


def budget_views(budgets: Sequence[Budget]) -> list[BudgetView] | None:
    """The budgets as callers see them; None: there are none."""
    return [BudgetView(**_fields(one)) for one in budgets] or None


def budget_standing(state: BudgetState) -> BudgetStanding:
    """How a budget stands, as callers see it."""
    return BudgetStanding(
        **_fields(state.budget),
        api_key_id=state.api_key_id or None,
        subject=state.subject,
        window_end=rfc3339(state.window_end),
        spent=Dollars(state.spent_nanos),
        reserved=Dollars(state.reserved_nanos),
        left=Dollars(state.left_nanos),
    )


def budget_settings(budgets: Iterable[BudgetBody]) -> list[dict[str, Any]]:
    """The budgets as a policy keeps them: without what is not said."""
    return [{name: one for name, one in structs.asdict(budget).items() if one is not None} for budget in budgets]


def _fields(budget: Budget) -> dict[str, Any]:
    return {
        "per": budget.per,
        "window": BudgetWindow.Name(budget.window).removeprefix("BUDGET_WINDOW_").lower(),
        "limit_usd": Dollars(budget.limit_nanos),
        "action": BudgetAction.Name(budget.action).removeprefix("BUDGET_ACTION_").lower(),
        "alert_at": list(budget.alert_at),
        "timezone": budget.timezone or None,
    }


def _nanos(amount: float, path: str) -> int:
    try:
        return nanos_from_dollars(Decimal(str(amount)))
    except ValueError as error:
        raise InvalidRequest(f"{path}: {error}.", param=path) from error
