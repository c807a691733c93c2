"""Prices of models by date, size of the prompt and tier of service, and what a call costs at them.

The rounding rule, for every amount that Asahi states: the exact price of one provider call, over all its buckets, is
rounded half up to a whole nano-dollar, once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Protocol

from asahi.type.v1.usage_pb2 import ServiceTier, Usage
from asahi_core.prices.rates import Rates

Tiers = tuple[tuple[int, Rates], ...]
"""Rates by size of the prompt, ascending: the last whose number the whole prompt passes holds for all its tokens."""
STANDARD = ServiceTier.SERVICE_TIER_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Period:
    """Prices from a day on (UTC)."""

    since: date
    tiers: Tiers
    """At the standard tier; empty: no known price."""
    services: dict[ServiceTier.ValueType, Tiers] = field(default_factory=dict)
    """At the other tiers of service that have a known price."""

    def at(self, service_tier: ServiceTier.ValueType) -> Tiers:
        """The tiers at that tier of service; empty: no known price."""
        return self.services.get(service_tier, ()) if service_tier else self.tiers


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """A model's prices over time; the first period has begun before any call."""

    vendor: str
    context_window: int | None
    """Tokens of prompt and answer together; None: not known."""
    periods: tuple[Period, ...]

    def rates(self, input_tokens: int, at: datetime, service_tier: ServiceTier.ValueType = STANDARD) -> Rates | None:
        """The rates of a call made at `at` whose prompt has `input_tokens` tokens, cached ones included.

        None: that tier of service has no known price on that day.
        """
        period = self.periods[-1]
        if len(self.periods) > 1:
            day = (at if at.tzinfo is UTC else at.astimezone(UTC)).date()
            for period in reversed(self.periods):
                if period.since <= day:
                    break
        for over, rates in reversed(period.at(service_tier) if service_tier else period.tiers):
            if input_tokens > over:
                return rates
        return None


class Prices(Protocol):
    """Where a book looks up models."""

    def get(self, model: str, /) -> ModelPrice | None:
        """The prices of the model with the catalog id `model`; None: no known price."""
        ...

    def __iter__(self) -> Iterator[str]: ...


class Overrides(Protocol):
    """Prices that go over a book's: `PriceOverrides`."""

    @property
    def version(self) -> str:
        """Names them for good."""
        ...

    def over(self, prices: Prices, /) -> Prices:
        """`prices` with these over them."""
        ...


class Books(Protocol):
    """Which prices an organisation pays: `OrganizationPrices`, or one `PriceBook` for all."""

    def of(self, organization_id: str, /) -> "PriceBook":
        """The prices that the organisation pays now."""
        ...

    def named(self, organization_id: str, version: str, /) -> "PriceBook | None":
        """The organisation's prices of that version; None: not known here."""
        ...


class PriceBook:
    """Prices of all known models, of one version."""

    def __init__(self, version: str, models: Prices) -> None:
        self.version = version
        self._models = models

    def with_overrides(self, overrides: "Overrides") -> "PriceBook":
        """This book with an organisation's prices over it, at next to no cost; its version names both."""
        return PriceBook(f"{self.version} + {overrides.version}", overrides.over(self._models))

    def of(self, organization_id: str, /) -> "PriceBook":
        """These prices, whoever pays."""
        return self

    def named(self, organization_id: str, version: str, /) -> "PriceBook | None":
        """These prices, if they are of that version."""
        return self if version == self.version else None

    def __iter__(self) -> Iterator[str]:
        """The models that are known by name."""
        return iter(self._models)

    def model(self, model: str) -> ModelPrice | None:
        """The prices of the model with the catalog id `model`; None: no known price."""
        return self._models.get(model)

    def rates(
        self, model: str, input_tokens: int, at: datetime, service_tier: ServiceTier.ValueType = STANDARD
    ) -> Rates | None:
        """The rates of a call to `model` made at `at` with a prompt of `input_tokens`; None: no known price."""
        price = self._models.get(model)
        return price.rates(input_tokens, at, service_tier) if price is not None else None

    def cost_nanos(self, model: str, usage: Usage, at: datetime) -> int | None:
        """What `usage` of `model` costs at `at`, in nano-dollars; never negative.

        None: no known price of the model, of the tier that served the call, or of something that it billed. Never 0 for
        lack of a price.
        """
        price = self._models.get(model)
        if price is None:
            return None
        if not usage.HasField("details"):
            rates = price.rates(prompt_tokens(usage), at)
            return rates.cost_nanos(usage) if rates is not None else None
        rates = price.rates(prompt_tokens(usage), at, usage.details.service_tier)
        return rates.detailed_cost_nanos(usage) if rates is not None else None


def prompt_tokens(usage: Usage) -> int:
    """All input tokens of a call, cached ones included."""
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
