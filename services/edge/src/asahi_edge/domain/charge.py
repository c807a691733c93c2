"""What an answer costs, what it would have cost without Asahi, and which technique made the difference."""

from dataclasses import dataclass
from datetime import datetime

from asahi.type.v1.chat_pb2 import Answer
from asahi_core.prices import PriceBook


@dataclass(frozen=True, slots=True)
class Charge:
    """Amounts in nano-dollars. The savings sum to `original_nanos - cost_nanos` exactly; they may be negative."""

    cost_nanos: int
    original_nanos: int | None
    """None: the price of the model to compare with is not known."""
    savings: tuple[tuple[str, int], ...]
    price_version: str
    price_unknown: bool = False
    overhead_nanos: int = 0

    @property
    def saved_nanos(self) -> int:
        """What Asahi saved; 0 where it is not known."""
        return 0 if self.original_nanos is None else self.original_nanos - self.cost_nanos

    @property
    def savings_percent(self) -> float | None:
        """100 × (1 − cost / original); None where the original is 0 or unknown."""
        if not self.original_nanos:
            return None
        return 100 * (1 - self.cost_nanos / self.original_nanos)


def charge_answer(prices: PriceBook, answer: Answer, reference_model: str, at: datetime) -> Charge:
    """The charge of an answer that a provider gave: its own price, against the same tokens at `reference_model`."""
    cost = prices.cost_nanos(answer.model, answer.usage, at)
    original = prices.cost_nanos(reference_model, answer.usage, at) if cost is not None else None
    routed = answer.model != reference_model and cost is not None and original is not None
    savings = (("routing", original - cost),) if routed and original is not None and cost is not None else ()
    return Charge(
        cost_nanos=cost or 0,
        original_nanos=original,
        savings=savings,
        price_version=prices.version,
        price_unknown=cost is None,
    )


def charge_hit(prices: PriceBook, answer: Answer, reference_model: str, tier: int, at: datetime) -> Charge:
    """The charge of a cached answer: nothing, against its stored tokens at `reference_model` and today's price."""
    original = prices.cost_nanos(reference_model, answer.usage, at)
    return Charge(
        cost_nanos=0,
        original_nanos=original,
        savings=((f"cache_tier_{tier}", original),) if original is not None else (),
        price_version=prices.version,
    )
