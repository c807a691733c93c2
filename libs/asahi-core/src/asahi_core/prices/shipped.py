"""Reads the snapshot of prices that this version ships."""

import json
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from asahi.type.v1.usage_pb2 import ServiceTier
from asahi_core.prices.book import ModelPrice, Period, PriceBook, Tiers
from asahi_core.prices.rates import MediaRates, Rates

_FREE = Period(date(1970, 1, 1), ((-1, Rates(0, 0, 0, 0, 0)),))
_OWN = {"all-MiniLM-L6-v2": ModelPrice("local", 256, (_FREE,))}
"""What runs in Asahi's own processes is paid with their machines, not by the token."""


@cache
def load_price_book() -> PriceBook:
    """The price book of the snapshot that this version ships."""
    snapshot = json.loads((files("asahi_core.prices") / "snapshot.json").read_text())
    return PriceBook(snapshot["version"], {name: _model(raw) for name, raw in snapshot["models"].items()} | _OWN)


def _model(raw: dict[str, Any]) -> ModelPrice:
    return ModelPrice(raw["vendor"], raw["context_window"], tuple(map(_period, raw["periods"])))


def _period(raw: dict[str, Any]) -> Period:
    services = {ServiceTier.Value(name): _tiers(tiers) for name, tiers in raw.get("services", {}).items()}
    return Period(date.fromisoformat(raw["since"]), _tiers(raw["tiers"]), services)


def _tiers(raw: list[dict[str, Any]]) -> Tiers:
    return tuple((tier["over"], _rates(tier["rates"])) for tier in raw)


def _rates(raw: dict[str, Any]) -> Rates:
    media = raw.get("media")
    return Rates(**{**raw, "media": MediaRates(**media) if media else None})
