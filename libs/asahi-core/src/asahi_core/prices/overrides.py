"""An organisation's own prices over a price book: discounts, agreed prices, models that it hosts itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction

from asahi.type.v1.usage_pb2 import ServiceTier
from asahi_core.prices.book import ModelPrice, Period, Prices, Tiers
from asahi_core.prices.rates import Rates

MAX_FACTOR = 10
MAX_RATE = 10**16
"""Nano-dollars a million tokens: ten dollars a token, which nobody asks."""
_BEGINNING = date(1970, 1, 1)
_KEPT_MODELS = 1024


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """The price of some models for some days: either absolute, or a factor on the list price.

    Raises:
        ValueError: neither or both prices, an impossible one, or no day on which it holds.
    """

    models: str
    """Pattern of catalog ids, as policies write them: `gpt-6-*`."""
    rates: Rates | None = None
    """Absolute, for prompts of any size. It prices models that have no list price, too."""
    factor: Decimal | None = None
    """`0.85` is 15 % off, of every bucket; a discounted rate is rounded half up to a nano-dollar a million tokens."""
    since: date | None = None
    """The first day (UTC); None: always until `until`."""
    until: date | None = None
    """The first day (UTC) on which it holds no longer; None: for good."""
    service_tier: ServiceTier.ValueType | None = None
    """The one tier of service that it prices; None: all of them, unknown ones included if it is absolute."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models is empty; name a model or a pattern, as in gpt-6-*")
        if (self.rates is None) == (self.factor is None):
            raise ValueError(f"the price of {self.models} is either absolute or a factor: give one of the two")
        if self.factor is not None and not (self.factor.is_finite() and 0 <= self.factor <= MAX_FACTOR):
            raise ValueError(f"the factor of {self.models} is {self.factor}; it must be 0 to {MAX_FACTOR}")
        if self.rates is not None and not all(0 <= rate <= MAX_RATE for rate in self.rates.all()):
            raise ValueError(f"a rate of {self.models} is not within 0 to {MAX_RATE} nano-dollars a million")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(f"the price of {self.models} ends {self.until}, before it began on {self.since}")

    def holds(self, day: date, service_tier: ServiceTier.ValueType) -> bool:
        """Whether it prices calls of that day (UTC) at that tier."""
        return (
            (self.since is None or self.since <= day)
            and (self.until is None or day < self.until)
            and self.service_tier in (None, service_tier)
        )

    def over(self, listed: Tiers) -> Tiers:
        """What it makes of the list price; empty: no known price."""
        if self.rates is not None:
            return ((-1, self.rates),)
        factor = Fraction(self.factor or 0)
        return tuple((start, rates.times(factor)) for start, rates in listed)


@dataclass(frozen=True, slots=True)
class PriceOverrides:
    """An organisation's prices of one version. Of several that hold, the last counts, alone."""

    version: str
    """Names these entries for good: other entries have another version."""
    entries: tuple[PriceOverride, ...]

    def over(self, prices: Prices, /) -> Prices:
        """`prices` with these over them, made without a look at any model."""
        return _Overridden(prices, self.entries)


class _Overridden:
    """Models with overrides, worked out when first asked for."""

    def __init__(self, below: Prices, entries: tuple[PriceOverride, ...]) -> None:
        self._below = below
        self._entries = entries
        self._known: dict[str, ModelPrice | None] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._below)

    def get(self, model: str, /) -> ModelPrice | None:
        try:
            return self._known[model]
        except KeyError:
            if len(self._known) >= _KEPT_MODELS:
                self._known.clear()
            price = self._known[model] = self._price(model)
            return price

    def _price(self, model: str) -> ModelPrice | None:
        listed = self._below.get(model)
        entries = [entry for entry in self._entries if fnmatchcase(model, entry.models)]
        if not entries:
            return listed
        if listed is None:
            if all(entry.rates is None for entry in entries):
                return None
            listed = ModelPrice("", None, (Period(_BEGINNING, ()),))
        days = {period.since for period in listed.periods}
        days |= {day for entry in entries for day in (entry.since, entry.until) if day is not None and day > min(days)}
        periods = tuple(_period(listed, entries, day) for day in sorted(days))
        return ModelPrice(listed.vendor, listed.context_window, periods)


def _period(listed: ModelPrice, entries: list[PriceOverride], day: date) -> Period:
    before = next(period for period in reversed(listed.periods) if period.since <= day)
    services = {tier: _tiers(before.at(tier), entries, day, tier) for tier in ServiceTier.values()}
    standard = services.pop(ServiceTier.SERVICE_TIER_UNSPECIFIED)
    return Period(day, standard, {tier: tiers for tier, tiers in services.items() if tiers})


def _tiers(listed: Tiers, entries: list[PriceOverride], day: date, service_tier: ServiceTier.ValueType) -> Tiers:
    for entry in reversed(entries):
        if entry.holds(day, service_tier):
            return entry.over(listed)
    return listed
