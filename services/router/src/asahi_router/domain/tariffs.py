"""Prices of the day, ready to hand: a decision asks for two rates of every model."""

from datetime import UTC, date, datetime

from asahi_core.prices import Books, PriceBook
from asahi_core.prices.rates import Rates

_MOST_BOOKS = 256
_Tiers = tuple[tuple[int, Rates], ...]


class Tariffs:
    """What `PriceBook.rates` says, without looking for the day's period each time."""

    def __init__(self, prices: Books, at: datetime) -> None:
        self._prices = prices
        self._day: date | None = None
        self._known: dict[PriceBook, dict[str, _Tiers]] = {}
        self.turn_to(at)

    def turn_to(self, at: datetime, organization_id: str = "") -> None:
        """From now on, prices are those of calls made at `at`, as the organisation (empty: nobody) pays them."""
        day = at.astimezone(UTC).date()
        if day != self._day or len(self._known) > _MOST_BOOKS:
            self._day, self._known = day, {}
        self._book = self._prices.of(organization_id)
        self._tiers = self._known.setdefault(self._book, {})

    def rates(self, model: str, input_tokens: int) -> Rates | None:
        """The rates of a call with a prompt of so many tokens, on that day; None: no known price."""
        tiers = self._tiers.get(model)
        if tiers is None:
            tiers = self._tiers[model] = self._find(model)
        for over, rates in tiers:
            if input_tokens > over:
                return rates
        return None

    def _find(self, model: str) -> _Tiers:
        """The day's tiers, that of the longest prompts first."""
        price, day = self._book.model(model), self._day
        if price is None or day is None:
            return ()
        period = next(period for period in reversed(price.periods) if period.since <= day)
        return tuple(reversed(period.tiers))
