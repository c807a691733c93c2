"""What an answer costs, what it would have cost without Asahi, and which technique made the difference."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from asahi.router.v1.router_pb2 import AttemptOutcome
from asahi.type.v1.chat_pb2 import Answer
from asahi.type.v1.usage_pb2 import Usage
from asahi_core.prices import PriceBook

CASCADE = "cascade: "
"""How the outcome of a call begins whose answer failed its check."""


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
    prices: PriceBook,
    calls: Sequence[AttemptOutcome],
    reference_model: str,
    at: datetime,
    *,
    asked_to_keep: bool = False,
) -> RequestCharge:
    """The charge of a request whose provider calls were `calls`, the last of which ended it.

    Every call costs what its provider bills. What would have been paid without Asahi is one call at `reference_model`
    with the tokens of the last one: calls before it are a loss that is booked to `cascade` where their answer failed
    its check, else to `routing`. Where Asahi had a provider keep the prompt's beginning (`asked_to_keep`, and the call
    says that it was asked, or that the router added it), nothing would have been kept without it: that difference is
    `provider_prompt_cache`.
    """
    charges = {
        call.attempt: _charge(
            prices,
            call,
            _without_cache(call.usage)
            if call.prompt_cache_added or (asked_to_keep and call.prompt_cache_asked)
            else call.usage,
            reference_model if call is calls[-1] else None,
            at,
        )
        for call in calls
    }
    total = add_up(list(charges.values()))
    savings = tuple((technique, nanos) for technique, nanos in total.savings if nanos)
    return RequestCharge(total=replace(total, savings=savings), calls=charges)


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


def charge_overhead(prices: PriceBook, call: AttemptOutcome, at: datetime) -> Charge:
    """The charge of a call that answers nobody and is made to route better: a loss that is booked to `routing`."""
    charge = _charge(prices, call, call.usage, None, at)
    return replace(charge, overhead_nanos=charge.cost_nanos)


def charge_reused(prices: PriceBook, answer: Answer, reference_model: str, technique: str, at: datetime) -> Charge:
    """The charge of an answer that stood for a call: nothing, against its tokens at `reference_model` today."""
    original = prices.cost_nanos(reference_model, answer.usage, at)
    savings = ((technique, original),) if original is not None else ()
    return Charge(cost_nanos=0, original_nanos=original, savings=savings, price_version=prices.version)


def _charge(prices: PriceBook, call: AttemptOutcome, plain: Usage, reference_model: str | None, at: datetime) -> Charge:
    """The charge of one call. `plain`: its tokens without Asahi; `reference_model`: None: the call is a loss."""
    if not call.HasField("usage"):
        return Charge(0, 0, price_version=prices.version)
    cost, unkept = (prices.cost_nanos(call.model, usage, at) for usage in (call.usage, plain))
    if cost is None or unkept is None:
        return Charge(0, None, price_version=prices.version, price_unknown=True)
    original = 0 if reference_model is None else prices.cost_nanos(reference_model, plain, at)
    if original is None:
        return Charge(cost, None, price_version=prices.version)
    technique = "cascade" if call.outcome.startswith(CASCADE) else "routing"
    savings = ((technique, original - unkept), ("provider_prompt_cache", unkept - cost))
    return Charge(cost, original, tuple(saving for saving in savings if saving[1]), prices.version)


def _without_cache(usage: Usage) -> Usage:
    """The same tokens, none of them written to or read from the provider's prompt cache."""
    plain = Usage()
    plain.CopyFrom(usage)
    plain.input_tokens += usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    plain.cache_read_tokens = plain.cache_write_5m_tokens = plain.cache_write_1h_tokens = 0
    return plain
