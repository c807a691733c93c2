"""`asahi usage`: what was spent and saved."""

from collections.abc import Mapping
from typing import Any

from asahi_cli.client import AsahiClient
from asahi_cli.display import dollars, percent, print_json, print_table


def summary(client: AsahiClient, period: str, *, as_json: bool) -> None:
    """Prints the cost summary of `period`, which ends now.

    Raises:
        CommandError: it cannot be had.
    """
    answer = client.get("/analytics/cost-summary", period=period)
    if as_json:
        print_json(answer)
        return
    data: Mapping[str, Any] = answer.body["data"]
    rate = data.get("cache_hit_rate")
    rows = [
        ("requests", f"{data.get('total_requests', 0)}"),
        ("answered by the cache", "–" if rate is None else percent(rate * 100)),
        ("cost", dollars(data.get("total_cost"))),
        ("cost without Asahi", dollars(data.get("cost_original"))),
        ("saved", f"{dollars(data.get('total_savings'))}  ({percent(data.get('savings_percent'))})"),
        *((f"  by {name}", dollars(amount)) for name, amount in data.get("savings_by_technique", {}).items()),
    ]
    if data.get("price_unknown_calls"):
        rows.append(("calls without a known price", f"{data['price_unknown_calls']} (not in the sums)"))
    print_table(("", ""), rows, title=f"Usage, {data.get('period', period)}")


def calendar(client: AsahiClient, period: str, *, as_json: bool) -> None:
    """Prints tokens, cost and what is left of the budget in this calendar day or month.

    Raises:
        CommandError: it cannot be had.
    """
    answer = client.get("/governance/usage", period=period)
    if as_json:
        print_json(answer)
        return
    print_table(("", ""), _rows(answer.body.get("data", answer.body)), title=f"Usage, this {period}")


def _rows(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in data.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, dict):
            rows += _rows(value, f"{label}: ")
        elif isinstance(value, list):
            for i, item in enumerate(value, 1):
                rows += _rows(item, f"{label} {i}: ") if isinstance(item, dict) else [(f"{label} {i}", str(item))]
        else:
            money = any(word in name for word in ("cost", "saving", "budget", "usd")) and "percent" not in name
            rows.append((label, dollars(value) if money and not isinstance(value, str) else _scalar(value)))
    return rows


def _scalar(value: object) -> str:
    return "–" if value is None else str(value)
