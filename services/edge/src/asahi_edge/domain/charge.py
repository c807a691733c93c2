"""What an answer costs, what it would have cost without Asahi, and which technique made the difference."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from asahi.router.v1.router_pb2 import AttemptOutcome
from asahi.type.v1.chat_pb2 import Answer
from asahi_core.prices import PriceBook


@dataclass(frozen=True, slots=True)
class Charge:
    """Amounts in nano-dollars. The savings sum to `original_nanos - cost_nanos` exactly; they may be negative."""

    cost_nanos: int
    original_nanos: int | None
    """None: the price of the model to compare with is not known."""
    savings: tuple[tuple[str, int], ...] = ()
    price_version: str = ""
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


@dataclass(frozen=True, slots=True)
class RequestCharge:
    """What a request that called providers costs: each call by itself, and all of them together."""

    total: Charge
    calls: dict[int, Charge] = field(default_factory=dict)
    """By number of the attempt."""


def charge_calls(
    prices: PriceBook, calls: Sequence[AttemptOutcome], reference_model: str, at: datetime
) -> RequestCharge:
    """The charge of a request whose provider calls were `calls`, the last of which ended it.

    Every call costs what its provider bills. What would have been paid without Asahi is one call at `reference_model`
    with the tokens of the last one: calls before it are a loss that is booked to `routing`.
    """
    costs = {call.attempt: _cost(prices, call, at) for call in calls}
    last = calls[-1]
    charges = {
        call.attempt: _charge(prices, costs[call.attempt], _original(prices, call, last, reference_model, at))
        for call in calls
    }
    known = [charge.original_nanos for charge in charges.values()]
    original = None if None in known else sum(nanos for nanos in known if nanos is not None)
    unknown = any(charge.price_unknown for charge in charges.values())
    total = sum(charge.cost_nanos for charge in charges.values())
    return RequestCharge(
        total=Charge(total, original, _routing(total, original), prices.version, unknown),
        calls=charges,
    )


def add_up(charges: Sequence[Charge]) -> Charge:
    """What the parts of a request cost together; at least one. Original and savings are unknown if one's are."""
    originals = [charge.original_nanos for charge in charges]
    original = None if None in originals else sum(nanos for nanos in originals if nanos is not None)
    savings: dict[str, int] = {}
    for technique, nanos in (saving for charge in charges for saving in charge.savings):
        savings[technique] = savings.get(technique, 0) + nanos
    return Charge(
        cost_nanos=sum(charge.cost_nanos for charge in charges),
        original_nanos=original,
        savings=() if original is None else tuple(savings.items()),
        price_version=charges[-1].price_version,
        price_unknown=any(charge.price_unknown for charge in charges),
        overhead_nanos=sum(charge.overhead_nanos for charge in charges),
    )


def charge_reused(prices: PriceBook, answer: Answer, reference_model: str, technique: str, at: datetime) -> Charge:
    """The charge of an answer that stood for a call: nothing, against its tokens at `reference_model` today."""
    original = prices.cost_nanos(reference_model, answer.usage, at)
    savings = ((technique, original),) if original is not None else ()
    return Charge(cost_nanos=0, original_nanos=original, savings=savings, price_version=prices.version)


def _cost(prices: PriceBook, call: AttemptOutcome, at: datetime) -> int | None:
    """None: it was billed, and no price is known."""
    return prices.cost_nanos(call.model, call.usage, at) if call.HasField("usage") else 0


def _original(
    prices: PriceBook, call: AttemptOutcome, last: AttemptOutcome, reference_model: str, at: datetime
) -> int | None:
    if call is not last or not call.HasField("usage"):
        return 0
    if prices.cost_nanos(call.model, call.usage, at) is None:
        return None
    return prices.cost_nanos(reference_model, call.usage, at)


def _charge(prices: PriceBook, cost: int | None, original: int | None) -> Charge:
    if cost is None:
        return Charge(0, None, price_version=prices.version, price_unknown=True)
    return Charge(cost, original, _routing(cost, original), prices.version)


def _routing(cost: int, original: int | None) -> tuple[tuple[str, int], ...]:
    return (("routing", original - cost),) if original is not None and original != cost else ()
