"""What tokens cost: the price book that every service shares, and the snapshot that it is made from."""

from asahi_core.prices.book import Books, ModelPrice, PriceBook
from asahi_core.prices.overrides import PriceOverride, PriceOverrides
from asahi_core.prices.rates import MediaRates, Rates
from asahi_core.prices.sheets import OrganizationPrices
from asahi_core.prices.shipped import load_price_book

__all__ = [
    "Books",
    "MediaRates",
    "ModelPrice",
    "OrganizationPrices",
    "PriceBook",
    "PriceOverride",
    "PriceOverrides",
    "Rates",
    "load_price_book",
]
