"""Budgets as the HTTP contract writes them: what they may say, and as messages."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow
from asahi_core.errors import InvalidRequest
from asahi_core.money import NANOS_PER_DOLLAR, dollars, nanos_from_dollars

Settings = Mapping[str, Any]
MOST_BUDGETS = 100
_MOST_USD = 1_000_000_000
_MOST_ALERTS = 10
_PER = re.compile(r"organization|key|user|tag:[A-Za-z0-9_.-]{1,64}", re.ASCII)
_WINDOWS = ("hour", "day", "week", "month")
_ACTIONS = ("alert", "block")
_NEEDED = ("per", "window", "limit_usd", "action")
_FIELDS = (*_NEEDED, "alert_at", "timezone")
_ALERT_AT = (0.5, 0.8, 1.0)


def check_budgets(path: str, value: Any, check_timezone: Callable[[str, Any], None]) -> None:
    """Raises InvalidRequest where `value` is no list of budgets."""
    if not isinstance(value, list) or len(value) > MOST_BUDGETS:
        raise _refusal(path, value, f"a list of at most {MOST_BUDGETS} budgets")
    for index, one in enumerate(value):
        _check_budget(f"{path}[{index}]", one, check_timezone)


def budgets_of(settings: Iterable[Settings]) -> list[Budget]:
    """Checked budgets as messages."""
    return [
        Budget(
            per=one["per"],
            window=BudgetWindow.Value(f"BUDGET_WINDOW_{one['window'].upper()}"),
            limit_nanos=nanos_from_dollars(Decimal(str(one["limit_usd"]))),
            action=BudgetAction.Value(f"BUDGET_ACTION_{one['action'].upper()}"),
            alert_at=one.get("alert_at") or _ALERT_AT,
            timezone=one.get("timezone") or "",
        )
        for one in settings
    ]


def settings_of_budgets(budgets: Iterable[Budget]) -> list[dict[str, Any]]:
    """Messages as the HTTP contract writes budgets, not checked yet."""
    return [
        {
            "per": one.per,
            "window": _word(BudgetWindow.items(), one.window, "BUDGET_WINDOW_"),
            "limit_usd": float(dollars(one.limit_nanos)),
            "action": _word(BudgetAction.items(), one.action, "BUDGET_ACTION_"),
            "alert_at": list(one.alert_at) or list(_ALERT_AT),
            **({"timezone": one.timezone} if one.timezone else {}),
        }
        for one in budgets
    ]


def _word(choices: Iterable[tuple[str, int]], value: int, prefix: str) -> str:
    """The choice as the HTTP contract writes it; one that there is not, by its number, which is refused later."""
    return next((name.removeprefix(prefix).lower() for name, number in choices if number == value), str(value))


def budgets_given(maker: Sequence[Settings], wanted: Sequence[Settings]) -> tuple[Settings, ...]:
    """The budgets of a new key: its own, and its maker's, each of which it has for itself."""
    return (*wanted, *(one for one in maker if one not in wanted))


def _check_budget(path: str, value: Any, check_timezone: Callable[[str, Any], None]) -> None:
    if not isinstance(value, Mapping):
        raise _refusal(path, value, "an object")
    for name in value:
        if name not in _FIELDS:
            message = f"{path}.{str(name)[:40]}: a budget has no such field; there are {', '.join(_FIELDS)}."
            raise InvalidRequest(message, param=f"{path}.{str(name)[:40]}")
    for name in _NEEDED:
        if value.get(name) is None:
            raise InvalidRequest(f"{path}.{name} is missing.", param=f"{path}.{name}")
    if not isinstance(value["per"], str) or _PER.fullmatch(value["per"]) is None:
        raise _refusal(f"{path}.per", value["per"], "organization, key, user or tag:NAME")
    for name, choices in (("window", _WINDOWS), ("action", _ACTIONS)):
        if value[name] not in choices:
            raise _refusal(f"{path}.{name}", value[name], f"one of {', '.join(choices)}")
    check_dollars(f"{path}.limit_usd", value["limit_usd"], least_nanos=1)
    if value.get("alert_at") is not None:
        _check_shares(f"{path}.alert_at", value["alert_at"])
    if value.get("timezone") is not None:
        check_timezone(f"{path}.timezone", value["timezone"])


def check_dollars(path: str, value: Any, *, least_nanos: int) -> None:
    """Raises InvalidRequest where `value` is no amount of dollars of at least so many nano-dollars."""
    least = dollars(least_nanos)
    accepted = f"a number of dollars from {least} to {_MOST_USD}, with at most nine decimals"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refusal(path, value, accepted)
    try:
        nanos = nanos_from_dollars(Decimal(str(value)))
    except ValueError as error:
        raise _refusal(path, value, accepted) from error
    if not least_nanos <= nanos <= _MOST_USD * NANOS_PER_DOLLAR:
        raise _refusal(path, value, accepted)


def _check_shares(path: str, value: Any) -> None:
    shares = value if isinstance(value, list) else []
    fine = all(not isinstance(one, bool) and isinstance(one, int | float) and 0 < one <= 1 for one in shares)
    if not 1 <= len(shares) <= _MOST_ALERTS or not fine or sorted(set(shares)) != shares:
        raise _refusal(path, value, f"a list of 1 to {_MOST_ALERTS} shares above 0 and at most 1, ascending")


def _refusal(path: str, value: Any, accepted: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: {str(value)[:80]!r} is not {accepted}.", param=path)
