"""Writes `snapshot.json` from the pinned `genai-prices` (`make prices`).

Services read the snapshot in place of the package, whose import alone takes 85 MB and 0.4 s. Only what text models
charge by token is taken over; a model with a price per request, or without input or output price, is left out.
"""

import json
import sys
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ConditionalPrice, ModelPrice, StartDateConstraint, TieredPrices

VENDORS = ("anthropic", "openai")
TARGET = Path(__file__).with_name("snapshot.json")
_BEGINNING = "1970-01-01"
_NANOS = 1_000_000_000
_BUCKETS = {
    "input": "input_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
}


def snapshot() -> str:
    """The snapshot's text, the same for the same version of `genai-prices`."""
    models: dict[str, Any] = {}
    for provider in get_snapshot().providers:
        if provider.id in VENDORS:
            for model in provider.models:
                periods = _periods(model.prices)
                if periods:
                    window = model.context_window
                    models[model.id] = {"vendor": provider.id, "context_window": window, "periods": periods}
    document = {"version": f"genai-prices {version('genai-prices')}", "models": dict(sorted(models.items()))}
    return json.dumps(document, indent=1) + "\n"


def _periods(prices: ModelPrice | list[ConditionalPrice]) -> list[dict[str, Any]]:
    conditional = prices if isinstance(prices, list) else [ConditionalPrice(prices=prices)]
    periods = []
    for price in conditional:
        if price.constraint is not None and not isinstance(price.constraint, StartDateConstraint):
            return []
        since = price.constraint.start_date.isoformat() if price.constraint else _BEGINNING
        tiers = _tiers(price.prices)
        if not tiers:
            return []
        periods.append({"since": since, "tiers": tiers})
    return sorted(periods, key=lambda period: str(period["since"]))


def _tiers(price: ModelPrice) -> list[dict[str, int]]:
    raw = {bucket: getattr(price, key) for bucket, key in _BUCKETS.items()}
    if raw["input"] is None or raw["output"] is None:
        return []
    starts = sorted({tier.start for value in raw.values() if isinstance(value, TieredPrices) for tier in value.tiers})
    return [{"over": start, **_rates(raw, start)} for start in [-1, *starts]]


def _rates(raw: dict[str, Decimal | TieredPrices | None], start: int) -> dict[str, int]:
    rates = {bucket: _at(value, start) for bucket, value in raw.items()}
    plain = rates["input"]
    write = rates["cache_write_5m"] if rates["cache_write_5m"] is not None else plain
    filled = {**rates, "cache_write_5m": write, "cache_write_1h": rates["cache_write_1h"] or write}
    return {bucket: int((plain if value is None else value) * _NANOS) for bucket, value in filled.items()}  # type: ignore[operator]


def _at(value: Decimal | TieredPrices | None, start: int) -> Decimal | None:
    if isinstance(value, TieredPrices):
        return next((tier.price for tier in reversed(value.tiers) if tier.start <= start), value.base)
    return value


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() != snapshot():
            sys.exit(f"{TARGET.name} is out of date with {version('genai-prices')}: run make prices")
    else:
        TARGET.write_text(snapshot())
