"""What a usage record must be to enter the ledger. One that is not refuses the whole call, naming record and field."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.usage_pb2 import Usage
from asahi_core.errors import InvalidRequest
from asahi_core.prices import Books

MAX_RECORDS = 1000
MAX_COST_NANOS = 10**15
"""A million dollars: no call costs it, and 9 000 such calls still sum up within an int64."""
MAX_TOKENS = 10**8
MAX_ID_CHARACTERS = 128
TOKEN_FIELDS = tuple(field.name for field in Usage.DESCRIPTOR.fields if field.name.endswith("_tokens"))
PURPOSES = ("", "shadow", "judge")
_MAX_TIER = 3
_LATEST_S = 9_000_000_000
_NANOS = 1_000_000_000

Fault = tuple[str, str]
"""A field, and what is wrong with it as the rest of a sentence that begins with its name."""


def check_records(records: Sequence[UsageRecord], prices: Books) -> None:
    """Raises InvalidRequest for the first record that contradicts the contract, itself, or the price book."""
    for _, refusal in refusals(records, prices):
        raise refusal


def refusals(records: Sequence[UsageRecord], prices: Books) -> Iterator[tuple[int, InvalidRequest]]:
    """The records that contradict the contract, themselves, or the price book: index, and the first thing wrong.

    Raises:
        InvalidRequest: there are none, or too many.
    """
    if not 1 <= len(records) <= MAX_RECORDS:
        message = f"records has {len(records)} entries; it takes 1 to {MAX_RECORDS}."
        raise InvalidRequest(message, param="records")
    for index, record in enumerate(records):
        for field, problem in _faults(record, prices):
            place = f"records[{index}].{field}"
            yield index, InvalidRequest(f"{place} {problem}.", param=place)
            break


def _faults(record: UsageRecord, prices: Books) -> Iterator[Fault]:
    """In the order in which a check may rely on the ones before it."""
    yield from _identity_faults(record)
    yield from _measure_faults(record)
    for field in ("usage", "reused_usage"):
        if record.HasField(field):
            yield from _token_faults(field, getattr(record, field))
    yield from _cost_faults(record)
    yield from _savings_faults(record)
    yield from _price_faults(record, prices)


def id_faults(organization_id: str, request_id: str) -> Iterator[Fault]:
    """What is wrong with the names of an organisation and of a request."""
    for field, value in (("organization_id", organization_id), ("request_id", request_id)):
        if not value:
            yield field, "is missing"
        if len(value) > MAX_ID_CHARACTERS:
            yield field, f"has {len(value)} characters; an id has at most {MAX_ID_CHARACTERS}"
        if "\0" in value:
            yield field, "contains a zero character"


def _identity_faults(record: UsageRecord) -> Iterator[Fault]:
    yield from id_faults(record.organization_id, record.request_id)
    if record.attempt < 0:
        yield "attempt", f"is {record.attempt}; provider calls are numbered from 1, and 0 says that there was none"
    occurred_at = record.occurred_at
    if not (0 < occurred_at.seconds < _LATEST_S and 0 <= occurred_at.nanos < _NANOS):
        yield "occurred_at", "is missing or no plausible time"


def _measure_faults(record: UsageRecord) -> Iterator[Fault]:
    if not 0 <= record.cache_tier <= _MAX_TIER:
        yield "cache_tier", f"is {record.cache_tier}; tiers are 1 to {_MAX_TIER}, and 0 is none"
    for field, value in (("latency_ms", record.latency_ms), ("overhead_ms", record.overhead_ms)):
        if not (math.isfinite(value) and value >= 0):
            yield field, f"is {value:g}; it must be a number of milliseconds, 0 or more"
    if record.purpose not in PURPOSES:
        yield "purpose", f"is {record.purpose[:60]!r}; a call that answers nobody is made for shadow or judge"
    if record.purpose and record.answered:
        yield "answered", f"is set on a call that was made for {record.purpose}, and so answers nobody"
    if record.purpose and not record.attempt:
        yield "attempt", "is 0; only a provider call has a purpose of its own"
    if record.orphan and record.answered:
        yield "answered", "is set on an orphan, whose answer nobody is known to have got"


def _token_faults(field: str, usage: Usage) -> Iterator[Fault]:
    for name in TOKEN_FIELDS:
        tokens = getattr(usage, name)
        if not 0 <= tokens <= MAX_TOKENS:
            yield f"{field}.{name}", f"is {tokens}; one call has 0 to {MAX_TOKENS} tokens"


def _cost_faults(record: UsageRecord) -> Iterator[Fault]:
    cost, overhead = record.cost_nanos, record.cost_overhead_nanos
    if not 0 <= cost <= MAX_COST_NANOS:
        yield "cost_nanos", f"is {cost}; one call costs 0 to {MAX_COST_NANOS}"
    if not 0 <= overhead <= cost:
        yield "cost_overhead_nanos", f"is {overhead}; it is a part of cost_nanos, which is {cost}"
    if record.purpose and overhead != cost:
        yield "cost_overhead_nanos", f"is {overhead}; all of the {cost} of a call made for {record.purpose} is overhead"
    if not 0 <= record.cost_original_nanos <= MAX_COST_NANOS:
        yield "cost_original_nanos", f"is {record.cost_original_nanos}; it must be 0 to {MAX_COST_NANOS}"
    if record.price_unknown and cost:
        yield "cost_nanos", f"is {cost}; with price_unknown it must be 0"
    if record.price_unknown and record.HasField("cost_original_nanos"):
        yield "cost_original_nanos", "is set; with price_unknown there is nothing that it could be compared with"
    if not record.attempt:
        if cost != overhead:
            yield "cost_nanos", f"is {cost}, of which {overhead} is overhead; without a provider call all of it must be"
        if any(getattr(record.usage, name) for name in TOKEN_FIELDS):
            yield "usage", "is not zero, and attempt 0 says that no provider was called; see reused_usage"


def _savings_faults(record: UsageRecord) -> Iterator[Fault]:
    techniques = [saving.technique for saving in record.savings]
    if "" in techniques:
        yield "savings", "has an entry without a technique"
    if len(set(techniques)) < len(techniques):
        yield "savings", "names a technique twice"
    saved = sum(saving.nanos for saving in record.savings)
    if record.HasField("cost_original_nanos"):
        expected = record.cost_original_nanos - record.cost_nanos
        if saved != expected:
            yield "savings", f"sum to {saved}; cost_original_nanos - cost_nanos is {expected}"
    elif techniques:
        yield "savings", "are stated although cost_original_nanos is unknown"
    if any(abs(saving.nanos) > MAX_COST_NANOS for saving in record.savings):
        yield "savings", f"have an entry beyond {MAX_COST_NANOS}"


def charged_nanos(record: UsageRecord) -> int:
    """What the provider charged for the call: its cost without what Asahi added; all of it where it is all overhead."""
    return record.cost_nanos if record.purpose else record.cost_nanos - record.cost_overhead_nanos


def _price_faults(record: UsageRecord, prices: Books) -> Iterator[Fault]:
    """Recomputes the price where this service has the prices that were used."""
    if not record.attempt or record.price_unknown:
        return
    stated = charged_nanos(record)
    if not record.price_version and stated:
        yield "price_version", f"is missing; the call cost {stated}, so a price was used"
    book = prices.named(record.organization_id, record.price_version)
    if book is None:
        return
    expected = book.cost_nanos(record.model, record.usage, record.occurred_at.ToDatetime(UTC))
    if expected is None and stated:
        yield "cost_nanos", f"prices {record.model[:100]!r}, which has no price in {book.version}: say price_unknown"
    if expected is not None and stated != expected:
        detail = f"for this usage of {record.model[:100]!r} at occurred_at; without overhead the record says {stated}"
        yield "cost_nanos", f"disagrees with {book.version}: {expected} {detail}"
