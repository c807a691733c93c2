"""Prices of models by date and size of the prompt, in integer nano-dollars a million tokens.

The rounding rule, for every amount that Asahi states: the exact price of one provider call, over all its buckets, is
rounded half up to a whole nano-dollar, once.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from asahi.type.v1.usage_pb2 import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars a million tokens, by bucket."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int

    def cost_nanos(self, usage: Usage) -> int:
        """What `usage` costs at these rates, rounded half up to a nano-dollar once."""
        exact = (
            usage.input_tokens * self.input
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_5m_tokens * self.cache_write_5m
            + usage.cache_write_1h_tokens * self.cache_write_1h
            + usage.output_tokens * self.output
        )
        return (exact + _MILLION // 2) // _MILLION


@dataclass(frozen=True, slots=True)
class _Period:
    """Prices from a day on. The last tier whose `over` the whole prompt passes holds for all tokens of the call."""

    since: date
    tiers: tuple[tuple[int, Rates], ...]


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """A model's prices over time."""

    vendor: str
    context_window: int | None
    """Tokens of prompt and answer together; None: not known."""
    periods: tuple[_Period, ...]

    def rates(self, input_tokens: int, at: datetime) -> Rates:
        """The rates of a call made at `at` whose prompt has `input_tokens` tokens, cached ones included."""
        day = at.astimezone(UTC).date()
        period = next(p for p in reversed(self.periods) if p.since <= day)
        return next(rates for over, rates in reversed(period.tiers) if input_tokens > over)


class PriceBook:
    """Prices of all known models, of one version."""

    def __init__(self, version: str, models: dict[str, ModelPrice]) -> None:
        self.version = version
        self._models = models

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def model(self, model: str) -> ModelPrice | None:
        """The prices of the model with the catalog id `model`; None: no known price."""
        return self._models.get(model)

    def rates(self, model: str, input_tokens: int, at: datetime) -> Rates | None:
        """The rates of a call to `model` made at `at` with a prompt of `input_tokens`; None: no known price."""
        price = self._models.get(model)
        return price.rates(input_tokens, at) if price is not None else None

    def cost_nanos(self, model: str, usage: Usage, at: datetime) -> int | None:
        """What `usage` of `model` costs at `at`; None: no known price. Never 0 for lack of a price."""
        rates = self.rates(model, prompt_tokens(usage), at)
        return rates.cost_nanos(usage) if rates is not None else None


def prompt_tokens(usage: Usage) -> int:
    """All input tokens of a call, cached ones included."""
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens


@cache
def load_price_book() -> PriceBook:
    """The price book of the snapshot that this version ships."""
    snapshot = json.loads((files("asahi_core.prices") / "snapshot.json").read_text())
    return PriceBook(snapshot["version"], {name: _model(raw) for name, raw in snapshot["models"].items()})


def _model(raw: dict[str, Any]) -> ModelPrice:
    periods = tuple(
        _Period(date.fromisoformat(period["since"]), tuple((t.pop("over"), Rates(**t)) for t in period["tiers"]))
        for period in raw["periods"]
    )
    return ModelPrice(raw["vendor"], raw["context_window"], periods)
