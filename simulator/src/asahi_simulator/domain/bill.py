"""What the provider charges for its calls, by day (UTC), model, kind of token and key, at the book's prices."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from asahi_core.prices import PriceBook
from asahi_simulator.domain.rules import Api

KINDS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
_MOST_CHARGES = 100_000


class Billed(Protocol):
    """What a call was billed."""

    api: Api
    model: str
    key: str
    started_at: float
    prompt_tokens: int
    cached_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, order=True)
class ChargeKey:
    """What a charge is for."""

    day: str
    api: Api
    model: str
    kind: str
    key: str


@dataclass(slots=True)
class Charge:
    """A charge: an amount in millionths of a nano-dollar, and the tokens that it is for."""

    amount: int = 0
    tokens: int = 0


class Bill:
    """Charges, added up exactly. Models without a price are not charged for."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self.charges: dict[ChargeKey, Charge] = {}

    def add(self, call: Billed) -> None:
        """Charges for a call."""
        at = datetime.fromtimestamp(call.started_at, UTC)
        rates = self._prices.rates(call.model, call.prompt_tokens, at)
        if rates is None or (not call.prompt_tokens and not call.completion_tokens):
            return
        written = call.cache_write_5m_tokens + call.cache_write_1h_tokens
        tokens = (
            call.prompt_tokens - call.cached_tokens - written,
            *(call.cached_tokens, call.cache_write_5m_tokens, call.cache_write_1h_tokens, call.completion_tokens),
        )
        each = (rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h, rates.output)
        for kind, count, rate in zip(KINDS, tokens, each, strict=True):
            if count:
                self._charge(ChargeKey(at.date().isoformat(), call.api, call.model, kind, call.key), count, rate)

    def copy(self) -> "Bill":
        """The same charges, to go on from."""
        other = Bill(self._prices)
        other.charges = {key: Charge(charge.amount, charge.tokens) for key, charge in self.charges.items()}
        return other

    def _charge(self, key: ChargeKey, tokens: int, rate: int) -> None:
        if key not in self.charges and len(self.charges) >= _MOST_CHARGES:
            key = ChargeKey(key.day, key.api, "other", key.kind, key.key)
        charge = self.charges.setdefault(key, Charge())
        charge.amount += tokens * rate
        charge.tokens += tokens
