"""The ledger beside a report, line by line: a day, a model, a provider, and the kind of token where it is known."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from asahi.billing.v1.reconciliation_pb2 import LineFault, Reconciliation, ReconciliationLine, ReportFormat
from asahi_billing.domain.cost_reports.charges import BUCKETS
from asahi_core.prices import PriceBook

MOST_LINES = 1000
_MOST_KEYS = 5
_MILLION = 1_000_000
_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


@dataclass(frozen=True, slots=True)
class LedgerGroup:
    """Calls of a day that have the same rates, added up."""

    organization_id: str
    day: str
    provider: str
    model: str
    over: int
    """Each prompt has more tokens than this, and fits the same step of every price; −1: the first step."""
    is_plain: bool
    """Whether all tokens are text at the standard tier, and nothing else was billed."""
    calls: int
    tokens: tuple[int, int, int, int, int]
    """By `BUCKETS`."""
    cost_nanos: int
    price_unknown_calls: int


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report says was charged."""

    day: str
    provider: str
    model: str
    item: str
    key: str
    nanos: int
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Covered:
    """A day of a provider that a report has everything of."""

    provider: str
    format: ReportFormat.ValueType
    day: str


_Cell = tuple[str, str, str]
"""Day, provider, model without its date."""


@dataclass(slots=True)
class _Ledgered:
    """What the ledger has of a cell."""

    calls: int = 0
    nanos: int = 0
    split: list[int] | None = field(default_factory=lambda: [0] * len(BUCKETS))
    """Millionths of a nano-dollar by bucket; None: the cost cannot be split."""
    tokens: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    model: str = ""


@dataclass(slots=True)
class _Line:
    """What the report has of a line."""

    nanos: int = 0
    tokens: int | None = 0
    keys: set[str] = field(default_factory=set)
    model: str = ""


def compare(
    covered: Iterable[Covered],
    groups: Iterable[LedgerGroup],
    reported: Iterable[Reported],
    prices_of: Callable[[str], PriceBook],
) -> Reconciliation:
    """The comparison over the covered days; orphans and the reports that were used are not filled in.

    A line agrees where both amounts differ by no more than what rounding explains: half a nano-dollar a call, one for
    the report's own row, and a millionth of the amount.
    """
    days = {(one.provider, one.day): set[ReportFormat.ValueType]() for one in covered}
    for one in covered:
        days[one.provider, one.day].add(one.format)
    result = Reconciliation()
    ledger: dict[_Cell, _Ledgered] = {}
    for group in groups:
        prices = prices_of(group.organization_id)
        if _vendor(prices, group.model) in days.get((group.provider, group.day), ()):
            result.price_unknown_calls += group.price_unknown_calls
            _add_group(ledger, group, prices)
    cells: dict[_Cell, dict[str, _Line]] = {}
    for charge in reported:
        _add_charge(cells.setdefault(_cell(charge.day, charge.provider, charge.model), {}), charge)
    wrong: list[ReconciliationLine] = []
    for cell in sorted(ledger.keys() | cells.keys()):
        for line in _lines(cell, ledger.get(cell, _Ledgered()), cells.get(cell, {})):
            _count(result, line)
            if line.fault:
                wrong.append(line)
    wrong.sort(key=lambda line: (-abs(line.reported_nanos - line.ledger_nanos), line.day, line.model, line.item))
    result.differing_lines = len(wrong)
    result.worst.extend(wrong[:MOST_LINES])
    if days:
        result.first_day, result.last_day = min(day for _, day in days), max(day for _, day in days)
    return result


def without_date(model: str) -> str:
    """The model's name without the date of its release: reports name the release, callers mostly the model."""
    return _DATED.sub("", model)


def _vendor(prices: PriceBook, model: str) -> ReportFormat.ValueType:
    """Whose report a call to the model is on; models that nobody knows are called by OpenAI's protocol."""
    price = prices.model(model)
    known = price.vendor if price is not None else ""
    if known == "anthropic" or (not known and model.startswith("claude")):
        return ReportFormat.REPORT_FORMAT_ANTHROPIC
    return ReportFormat.REPORT_FORMAT_OPENAI


def _cell(day: str, provider: str, model: str) -> _Cell:
    return day, provider, without_date(model)


def _add_group(ledger: dict[_Cell, _Ledgered], group: LedgerGroup, prices: PriceBook) -> None:
    have = ledger.setdefault(_cell(group.day, group.provider, group.model), _Ledgered())
    have.model = have.model or group.model
    have.calls += group.calls
    have.nanos += group.cost_nanos
    have.tokens = [a + b for a, b in zip(have.tokens, group.tokens, strict=True)]
    split = _split(group, prices)
    if have.split is not None:
        have.split = None if split is None else [a + b for a, b in zip(have.split, split, strict=True)]


def _split(group: LedgerGroup, prices: PriceBook) -> list[int] | None:
    """The group's cost by bucket, in millionths of a nano-dollar; None: today's prices do not make its cost."""
    at = datetime.combine(date.fromisoformat(group.day), datetime.min.time(), UTC)
    rates = prices.rates(group.model, group.over + 1, at)
    if rates is None or not group.is_plain or group.price_unknown_calls:
        return None
    by_bucket = (rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h, rates.output)
    split = [tokens * rate for tokens, rate in zip(group.tokens, by_bucket, strict=True)]
    return split if abs(sum(split) - group.cost_nanos * _MILLION) * 2 <= group.calls * _MILLION else None


def _add_charge(lines: dict[str, _Line], charge: Reported) -> None:
    line = lines.setdefault(charge.item, _Line())
    line.nanos += charge.nanos
    line.tokens = None if line.tokens is None or charge.tokens is None else line.tokens + charge.tokens
    line.model = line.model or charge.model
    if charge.key:
        line.keys.add(charge.key)


def _lines(cell: _Cell, have: _Ledgered, charged: Mapping[str, _Line]) -> Iterator[ReconciliationLine]:
    model = next((line.model for line in charged.values() if line.model), have.model)
    if have.split is None or not have.calls or not all(item in BUCKETS for item in charged):
        yield from _unsplit(cell, have, charged, model)
        return
    for index, item in enumerate(BUCKETS):
        line = charged.get(item, _Line())
        nanos = (2 * have.split[index] + _MILLION) // (2 * _MILLION)
        if not (nanos or line.nanos):
            continue
        made = ReconciliationLine(item=item, ledger_nanos=nanos, ledger_tokens=have.tokens[index])
        yield _judged(cell, model, made, line, have.calls)


def _unsplit(cell: _Cell, have: _Ledgered, charged: Mapping[str, _Line], model: str) -> Iterator[ReconciliationLine]:
    """Where the ledger has nothing, each charge by itself; else all of the model together."""
    if not have.calls:
        for item, line in sorted(charged.items()):
            if line.nanos:
                yield _judged(cell, model, ReconciliationLine(item=item), line, 0)
        return
    whole = _Line(sum(line.nanos for line in charged.values()), None)
    whole.keys = {key for line in charged.values() for key in line.keys}
    yield _judged(cell, model, ReconciliationLine(ledger_nanos=have.nanos), whole, have.calls)


def _judged(cell: _Cell, model: str, line: ReconciliationLine, charged: _Line, calls: int) -> ReconciliationLine:
    line.day, line.provider, _ = cell
    line.model, line.calls, line.reported_nanos = model, calls, charged.nanos
    line.keys.extend(sorted(charged.keys)[:_MOST_KEYS])
    if charged.tokens is not None and charged.keys | {charged.model} != {""}:
        line.reported_tokens = charged.tokens
    line.fault = _fault(line)
    return line


def _fault(line: ReconciliationLine) -> LineFault.ValueType:
    difference = abs(line.reported_nanos - line.ledger_nanos)
    if 2 * difference <= line.calls + 2 + 2 * abs(line.reported_nanos) // _MILLION:
        return LineFault.LINE_FAULT_UNSPECIFIED
    if not line.ledger_nanos:
        return LineFault.LINE_FAULT_MISSING_IN_LEDGER
    if not line.reported_nanos:
        return LineFault.LINE_FAULT_MISSING_IN_REPORT
    if not (line.HasField("reported_tokens") and line.HasField("ledger_tokens")):
        return LineFault.LINE_FAULT_AMOUNT
    if line.reported_tokens == line.ledger_tokens:
        return LineFault.LINE_FAULT_PRICE
    return LineFault.LINE_FAULT_USAGE


def _count(result: Reconciliation, line: ReconciliationLine) -> None:
    difference = line.reported_nanos - line.ledger_nanos
    result.lines += 1
    result.reported_nanos += line.reported_nanos
    result.ledger_nanos += line.ledger_nanos
    known = line.fault in (LineFault.LINE_FAULT_UNSPECIFIED, LineFault.LINE_FAULT_PRICE)
    result.captured_nanos += line.reported_nanos if known else min(line.reported_nanos, line.ledger_nanos)
    match line.fault:
        case LineFault.LINE_FAULT_UNSPECIFIED:
            result.agreeing_lines += 1
            result.rounding_nanos += difference
        case LineFault.LINE_FAULT_PRICE:
            result.price_difference_nanos += difference
        case LineFault.LINE_FAULT_MISSING_IN_LEDGER:
            result.missing_in_ledger_nanos += line.reported_nanos
        case LineFault.LINE_FAULT_MISSING_IN_REPORT:
            result.missing_in_report_nanos += line.ledger_nanos
