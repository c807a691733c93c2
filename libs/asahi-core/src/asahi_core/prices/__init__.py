"""What tokens cost: the price book that every service shares, and the snapshot that it is made from."""

from asahi_core.prices.book import ModelPrice, PriceBook, Rates, load_price_book

__all__ = ["ModelPrice", "PriceBook", "Rates", "load_price_book"]
