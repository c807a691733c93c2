"""`asahi models`: the catalog: who serves which model, at what price, how well and how fast."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from asahi_cli.client import AsahiClient
from asahi_cli.display import dollars, print_json, print_table

_COLUMNS = ("model", "provider", ">$/M in", ">$/M out", ">window", ">quality", ">first token", "can", "health")


def models(client: AsahiClient, *, everything: bool, as_json: bool) -> None:
    """Prints the models that can be called now; with `everything`, also those that no provider serves here.

    Raises:
        CommandError: they cannot be had.
    """
    answer = client.get("/models")
    if as_json:
        print_json(answer)
        return
    known: list[Mapping[str, Any]] = answer.body["data"]
    print_table(_COLUMNS, [_row(model) for model in known if everything or model.get("provider")])


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    price: Mapping[str, Any] = model.get("price_per_million") or {}
    latency: Mapping[str, Any] = model.get("latency") or {}
    return (
        str(model.get("id")),
        str(model.get("provider") or "none here"),
        dollars(price.get("input")).removeprefix("$"),
        dollars(price.get("output")).removeprefix("$"),
        f"{model.get('context_window') or 0:,}".replace(",", " "),
        _range(model.get("quality_by_task")),
        f"{latency['first_token_ms']:.0f} ms" if latency.get("first_token_ms") else "–",
        ", ".join(model.get("capabilities") or []),
        str(model.get("health") or "–"),
    )


def _range(quality_by_task: object) -> str:
    """Expected quality, 0 to 5, from the kind of work it does worst to the one it does best."""
    values = sorted(quality_by_task.values()) if isinstance(quality_by_task, dict) else []
    figures = [v for v in values if isinstance(v, int | Decimal)]
    if not figures:
        return "–"
    low, high = f"{figures[0]:.1f}", f"{figures[-1]:.1f}"
    return low if low == high else f"{low}–{high}"
