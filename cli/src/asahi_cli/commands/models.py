"""`asahi models`: the catalog: who serves which model, at what price, how well and how fast."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from asahi_cli.client import AsahiClient
from asahi_cli.display import dollars, print_json, print_table

_COLUMNS = ("model", "provider", ">$/M in", ">$/M out", ">window", ">quality", ">first token", "can", "state")


def models(client: AsahiClient, *, everything: bool, as_json: bool) -> None:
    """Prints the models that this key can use now; with `everything`, the whole catalog.

    Raises:
        CommandError: they cannot be had.
    """
    answer = client.get("/models")
    if as_json:
        print_json(answer)
        return
    known: list[Mapping[str, Any]] = answer.body["data"]
    print_table(
        _COLUMNS, [_row(model) for model in known if everything or (model.get("provider") and model.get("allowed"))]
    )


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    prices: Mapping[str, Any] = model.get("prices") or {}
    latency: Mapping[str, Any] = model.get("latency") or {}
    return (
        str(model.get("id")),
        str(model.get("provider") or "none here"),
        dollars(prices.get("input_per_million")).removeprefix("$"),
        dollars(prices.get("output_per_million")).removeprefix("$"),
        f"{model.get('context_window') or 0:,}".replace(",", " "),
        _range(model.get("quality_by_task")),
        f"{latency['first_token_ms']:.0f} ms" if latency.get("first_token_ms") else "–",
        ", ".join(model.get("capabilities") or []),
        _state(model),
    )


def _state(model: Mapping[str, Any]) -> str:
    return str(model.get("health") or "–") if model.get("allowed") else "not for this key"


def _range(quality_by_task: object) -> str:
    """Expected quality, 0 to 5, from the kind of work it does worst to the one it does best."""
    values = sorted(quality_by_task.values()) if isinstance(quality_by_task, dict) else []
    figures = [v for v in values if isinstance(v, int | Decimal)]
    if not figures:
        return "–"
    low, high = f"{figures[0]:.1f}", f"{figures[-1]:.1f}"
    return low if low == high else f"{low}–{high}"
