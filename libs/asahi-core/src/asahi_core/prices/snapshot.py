"""Writes `snapshot.json` from the pinned `genai-prices` (`make prices`).

Services read the snapshot in place of the package, whose import alone takes 85 MB and 0.4 s. Taken over is what models
charge by token, at every tier of service, and by search of the web. A model that charges by the hour or the character
is left out: it has no known price.
"""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

VENDORS = ("anthropic", "openai")
TARGET = Path(__file__).with_name("snapshot.json")
_BEGINNING = date(1970, 1, 1)
_NANOS = 1_000_000_000
_SEARCHES = 1000
"""So many thousands of searches are a million."""
_SERVICES = {
    ("processing", "batch"): "SERVICE_TIER_BATCH",
    ("service_tier", "flex"): "SERVICE_TIER_FLEX",
    ("service_tier", "priority"): "SERVICE_TIER_PRIORITY",
    ("service_tier", "fast"): "SERVICE_TIER_FAST",
    ("speed", "fast"): "SERVICE_TIER_FAST",
}
_STANDARD = ("service_tier", "default")

Sheet = dict[str, Decimal | TieredPrices]
"""The package's prices of one model on one day at one tier of service, in dollars by its own keys."""


def snapshot() -> str:
    """The snapshot's text, the same for the same version of `genai-prices`.

    Raises:
        ValueError: the package has a condition of a price that this module does not know.
    """
    models: dict[str, Any] = {}
    for provider in get_snapshot().providers:
        if provider.id in VENDORS:
            for model in provider.models:
                periods = _periods(model)
                if periods:
                    window = model.context_window
                    models[model.id] = {"vendor": provider.id, "context_window": window, "periods": periods}
    document = {"version": f"genai-prices {version('genai-prices')}", "models": dict(sorted(models.items()))}
    return json.dumps(document, indent=1) + "\n"


def _periods(model: ModelInfo) -> list[dict[str, Any]]:
    dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    variants = model.price_variants or []
    days = sorted({_BEGINNING, *(_since(p.constraint) for p in dated), *(_since(v.constraint) for v in variants)})
    periods: list[dict[str, Any]] = []
    for day in days:
        standard = _sheet(next((p for p in reversed(dated) if _since(p.constraint) <= day), dated[0]).prices)
        tiers = _tiers(standard)
        if not tiers:
            return []
        period: dict[str, Any] = {"tiers": tiers}
        services = {name: _tiers({**standard, **sheet}) for name, sheet in _services(variants, day)}
        if services:
            period["services"] = services
        if not periods or {"since": periods[-1]["since"], **period} != periods[-1]:
            periods.append({"since": day.isoformat(), **period})
    return periods


def _since(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> date:
    if constraint is None:
        return _BEGINNING
    if isinstance(constraint, StartDateConstraint):
        return constraint.start_date
    raise ValueError("a price holds at certain hours of the day, which the price book cannot say")


def _services(variants: list[PriceVariant], day: date) -> Iterator[tuple[str, Sheet]]:
    """What the tiers of service change; the first variant that says something of a key holds."""
    found: dict[str, Sheet] = {}
    for variant in variants:
        (condition, *others) = variant.when.items()
        if condition == _STANDARD and not _sheet(variant.prices):
            continue
        if others or condition not in _SERVICES:
            raise ValueError(f"a price holds where {variant.when}, which the price book cannot say")
        if _since(variant.constraint) <= day:
            sheet = found.setdefault(_SERVICES[condition], {})
            sheet.update({key: price for key, price in _sheet(variant.prices).items() if key not in sheet})
    yield from sorted(found.items())


def _sheet(price: ModelPrice) -> Sheet:
    return {key: value for key, value in vars(price).items() if value is not None}


def _tiers(sheet: Sheet) -> list[dict[str, Any]]:
    if "input_mtok" not in sheet:
        return []
    if sheet.keys() == {"input_mtok"}:  # an embedding model: it puts out no tokens
        sheet = {**sheet, "output_mtok": Decimal(0)}
    if "output_mtok" not in sheet:
        return []
    starts = sorted({tier.start for value in sheet.values() if isinstance(value, TieredPrices) for tier in value.tiers})
    return [{"over": start, "rates": _rates(sheet, start)} for start in [-1, *starts]]


def _rates(sheet: Sheet, start: int) -> dict[str, Any]:
    """What has no price of its own costs what it is a kind of, and cached what it costs uncached; audio: `_media`."""
    at = {key: _at(value, start) for key, value in sheet.items()}

    def rate(*keys: str) -> int:
        price = next(at[key] for key in keys if key in at)
        nanos = price * _NANOS
        if nanos != nanos.to_integral_value():
            raise ValueError(f"{price} dollars a million tokens are no whole nano-dollars")
        return int(nanos)

    rates: dict[str, Any] = {
        "input": rate("input_mtok"),
        "cache_read": rate("cache_read_mtok", "input_mtok"),
        "cache_write_5m": rate("cache_write_mtok", "input_mtok"),
        "cache_write_1h": rate("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
        "output": rate("output_mtok"),
    }
    if any("audio" in key or "image" in key for key in at):
        rates["media"] = _media(at, rate)
    if "web_searches_kcount" in at:
        rates["web_search"] = rate("web_searches_kcount") * _SEARCHES
    return rates


def _media(at: dict[str, Decimal], rate: Callable[..., int]) -> dict[str, int]:
    media = {
        "input_image": rate("input_image_mtok", "input_mtok"),
        "cache_read_image": rate("cache_image_read_mtok", "input_image_mtok", "cache_read_mtok", "input_mtok"),
        "output_image": rate("output_image_mtok", "output_mtok"),
    }
    if "input_audio_mtok" in at:
        media["input_audio"] = rate("input_audio_mtok")
        media["cache_read_audio"] = rate("cache_audio_read_mtok", "input_audio_mtok")
    if "output_audio_mtok" in at:
        media["output_audio"] = rate("output_audio_mtok")
    return media


def _at(value: Decimal | TieredPrices, start: int) -> Decimal:
    if isinstance(value, TieredPrices):
        return next((tier.price for tier in reversed(value.tiers) if tier.start <= start), value.base)
    return value


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() != snapshot():
            sys.exit(f"{TARGET.name} is out of date with {version('genai-prices')}: run make prices")
    else:
        TARGET.write_text(snapshot())
