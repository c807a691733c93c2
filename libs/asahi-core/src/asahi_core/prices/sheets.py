"""Organisations' price sheets as billing keeps them: checked, and laid over the price book for whoever charges."""

from datetime import date
from decimal import Decimal, InvalidOperation

from asahi.billing.v1.prices_pb2 import OverridingPrice, PriceSheet, TokenRates
from asahi_core.errors import InvalidRequest
from asahi_core.prices.book import PriceBook
from asahi_core.prices.overrides import PriceOverride, PriceOverrides
from asahi_core.prices.rates import Rates

MOST_PRICES = 1000
_VERSIONS_KEPT = 3
_LONGEST_PATTERN = 200


class OrganizationPrices:
    """The price book as each organisation pays it. Knows the last few versions of each, for records under way."""

    def __init__(self, listed: PriceBook) -> None:
        self._listed = listed
        self._books: dict[str, list[PriceBook]] = {}
        """Newest first."""
        self.revision = 0
        """The last change that was put here."""

    def of(self, organization_id: str) -> PriceBook:
        """The prices that the organisation pays now."""
        books = self._books.get(organization_id)
        return self._listed if books is None else books[0]

    def named(self, organization_id: str, version: str) -> PriceBook | None:
        """The organisation's prices, or the listed ones, of that version; None: not known here."""
        if version == self._listed.version:
            return self._listed
        return next((book for book in self._books.get(organization_id, ()) if book.version == version), None)

    def put(self, sheet: PriceSheet) -> None:
        """Takes a sheet over; one that is known, or older, changes nothing.

        Raises:
            InvalidRequest: it holds something impossible.
        """
        if sheet.revision <= self.revision:
            return
        overrides = overrides_of(sheet)
        book = self._listed.with_overrides(overrides) if overrides.entries else self._listed
        self._books[sheet.organization_id] = [book, *self._books.get(sheet.organization_id, ())][:_VERSIONS_KEPT]
        self.revision = sheet.revision


def overrides_of(sheet: PriceSheet) -> PriceOverrides:
    """A sheet's prices.

    Raises:
        InvalidRequest: one of them is impossible; says which, with its value, and what is accepted.
    """
    if len(sheet.prices) > MOST_PRICES:
        message = f"prices has {len(sheet.prices)} entries; it takes at most {MOST_PRICES}."
        raise InvalidRequest(message, param="prices")
    entries = tuple(_entry(price, f"prices[{index}]") for index, price in enumerate(sheet.prices))
    return PriceOverrides(f"prices {sheet.version}", entries)


def _entry(price: OverridingPrice, place: str) -> PriceOverride:
    if len(price.models) > _LONGEST_PATTERN or not price.models.isprintable():
        raise InvalidRequest(f"{place}.models is no pattern of model ids.", param=f"{place}.models")
    try:
        return PriceOverride(
            models=price.models,
            rates=_rates(price.rates) if price.HasField("rates") else None,
            factor=_factor(price.factor, f"{place}.factor") if price.HasField("factor") else None,
            since=_day(price.since, f"{place}.since"),
            until=_day(price.until, f"{place}.until"),
            service_tier=price.service_tier if price.HasField("service_tier") else None,
        )
    except ValueError as error:
        raise InvalidRequest(f"{place}: {error}.", param=place) from error


def _rates(rates: TokenRates) -> Rates:
    return Rates(rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h, rates.output)


def _factor(text: str, place: str) -> Decimal:
    try:
        factor = Decimal(text)
    except InvalidOperation as error:
        raise InvalidRequest(f"{place}: {text[:40]!r} is no number.", param=place) from error
    if len(text) > 30 or (factor.is_finite() and factor and factor.adjusted() < -9):
        raise InvalidRequest(f"{place}: {text[:40]!r} has too many digits; nine decimals are enough.", param=place)
    return factor


def _day(text: str, place: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{place}: {text[:40]!r} is no day; write it as 2026-11-24.", param=place) from error
