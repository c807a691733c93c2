"""What is asked of the ledger's table, as statements of SQLAlchemy's core. Each begins with the organisation."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from asahi_billing.domain.store import OrphanPosition, Span
from asahi_billing.stores.spending_tables import ADJUSTMENTS
from asahi_billing.stores.tables import USAGE_RECORDS

_r = USAGE_RECORDS.c
ExportPosition = tuple[int, int]
"""Time (ns since 1970) and row id of the last row of a page."""
_a = ADJUSTMENTS.c


def count_repeated_answers() -> Select[Any]:
    """Answered records beyond the first of their request."""
    return select(func.count()).select_from(USAGE_RECORDS).where(_r.repeats_answer == true())


def totals(organization_id: str, span: Span, by: ColumnElement[Any] | None = None) -> Select[Any]:
    """The sums of `Figures`, all but `saved_nanos`, of each value of `by` (of all records if there is none).

    The first column is the value. Values of null are left out; sums over nothing are null.
    """
    request = and_(_r.answered == true(), _r.repeats_answer != true())
    compared = _r.cost_original_nanos.is_not(None)
    sums = select(
        literal("").label("value") if by is None else by.label("value"),
        _sum(_r.cost_nanos).label("cost_nanos"),
        _sum(_r.cost_overhead_nanos).label("overhead_nanos"),
        _sum(_r.cost_nanos).filter(_r.orphan == true()).label("orphan_nanos"),
        _sum(_r.cost_original_nanos).label("original_nanos"),
        _sum(_r.cost_nanos).filter(compared).label("compared_nanos"),
        func.count().filter(request).label("requests"),
        *(
            func.count().filter(_r.cache_tier == tier, request, _r.coalesced != true()).label(f"tier_{tier}_hits")
            for tier in (1, 2, 3)
        ),
        func.count().filter(_r.coalesced == true(), request).label("coalesced"),
        func.sum(case((request, _r.latency_ms), else_=0.0)).label("latency_ms"),
        func.count().filter(_r.attempt > 0).label("calls"),
        func.count().filter(_r.error_code != "").label("errors"),
        func.count().filter(_r.price_unknown == true(), _r.attempt > 0).label("price_unknown_calls"),
        *(
            _sum(column).label(column.name)
            for column in (
                _r.input_tokens,
                _r.cache_read_tokens,
                _r.cache_write_5m_tokens,
                _r.cache_write_1h_tokens,
                _r.output_tokens,
                _r.reasoning_tokens,
            )
        ),
    ).where(*_within(organization_id, span))
    return sums if by is None else sums.where(by.is_not(None)).group_by(by)


def savings(organization_id: str, span: Span) -> Select[Any]:
    """Technique, what it saved, and the answered requests that it served."""
    saving = func.json_each(_r.savings).table_valued("key", "value", name="saving")
    nanos = cast(cast(saving.c.value, Text), BigInteger)  # PostgreSQL's values are JSON, SQLite's are numbers
    request = and_(_r.answered == true(), _r.repeats_answer != true())
    return (
        select(
            saving.c.key.label("value"),
            _sum(nanos).label("saved_nanos"),
            func.count().filter(request).label("requests"),
        )
        .select_from(USAGE_RECORDS)
        .join(saving, true())
        .where(*_within(organization_id, span))
        .group_by(saving.c.key)
    )


def any_within(organization_id: str, span: Span) -> Select[Any]:
    """One row if there is a record in `span`."""
    return select(_r.id).where(*_within(organization_id, span)).limit(1)


def exported(organization_id: str, span: Span, after: ExportPosition | None, limit: int) -> Select[Any]:
    """Rows of `span`, oldest first, after a position (None: from the first)."""
    # Of two lower bounds of the time SQLite may seek by the wrong one, and read the pages before again: there is one.
    start_ns = span.start_ns if after is None else after[0]
    statement = select(USAGE_RECORDS).where(*_within(organization_id, Span(start_ns, span.end_ns)))
    if after is not None:
        statement = statement.where(or_(_r.occurred_at_ns > after[0], _r.id > after[1]))
    return statement.order_by(_r.occurred_at_ns, _r.id).limit(limit)


def adjustments(organization_id: str, span: Span, by: ColumnElement[Any] | None = None) -> Select[Any]:
    """What repricings added to the costs of records, by a field of them; `value`: that field, or empty."""
    value: ColumnElement[Any] = literal("") if by is None else by
    sums = _adjustments(organization_id, span).add_columns(
        value.label("value"),
        _sum(_a.nanos).label("cost_nanos"),
        _sum(_a.nanos).filter(_a.is_compared == true()).label("compared_nanos"),
        _sum(_a.nanos).filter(_r.orphan == true()).label("orphan_nanos"),
    )
    return sums if by is None else sums.where(by.is_not(None)).group_by(by)


def adjusted_savings(organization_id: str, span: Span, technique: str) -> Select[Any]:
    """What repricings added to savings, as of a technique; no row where there were none."""
    return (
        _adjustments(organization_id, span)
        .add_columns(literal(technique).label("value"), (-_sum(_a.nanos)).label("saved_nanos"))
        .where(_a.is_compared == true())
        .group_by(_a.organization_id)
    )


def _adjustments(organization_id: str, span: Span) -> Select[Any]:
    call = and_(*(_a[name] == _r[name] for name in ("organization_id", "request_id", "attempt")))
    return (
        select()
        .select_from(ADJUSTMENTS.join(USAGE_RECORDS, call))
        .where(
            _a.organization_id == organization_id,
            _a.occurred_at_ns >= span.start_ns,
            _a.occurred_at_ns < span.end_ns,
        )
    )


def calls_after(organization_id: str, span: Span, after_id: int, limit: int) -> Select[Any]:
    """Rows of provider calls of a span, in the order in which they were recorded, after one of them."""
    return (
        select(USAGE_RECORDS)
        .where(*_within(organization_id, span), _r.attempt > 0, _r.id > after_id)
        .order_by(_r.id)
        .limit(limit)
    )


def newest_requests(organization_id: str, before: str, limit: int) -> Select[Any]:
    """All rows of the newest `limit` requests before one (empty: all); newest request and last attempt first."""
    ids = select(_r.request_id).where(_r.organization_id == organization_id)
    if before:
        ids = ids.where(_r.request_id < before)
    page = ids.group_by(_r.request_id).order_by(_r.request_id.desc()).limit(limit)
    return (
        select(USAGE_RECORDS)
        .where(_r.organization_id == organization_id, _r.request_id.in_(page))
        .order_by(_r.request_id.desc(), _r.attempt.desc())
    )


def request(organization_id: str, request_id: str) -> Select[Any]:
    """All rows of one request, by attempt."""
    return (
        select(USAGE_RECORDS)
        .where(_r.organization_id == organization_id, _r.request_id == request_id)
        .order_by(_r.attempt)
    )


def newest_orphans(organization_id: str, before: OrphanPosition | None, limit: int) -> Select[Any]:
    """Rows of orphans before a position (None: all), newest first; of all organisations if none is given."""
    statement = select(USAGE_RECORDS).where(_r.orphan == true())
    if organization_id:
        statement = statement.where(_r.organization_id == organization_id)
    if before is not None:
        statement = statement.where(tuple_(_r.occurred_at_ns, _r.id) < tuple_(before.occurred_at_ns, before.id))
    return statement.order_by(_r.occurred_at_ns.desc(), _r.id.desc()).limit(limit)


def _within(organization_id: str, span: Span) -> tuple[Any, ...]:
    return (
        _r.organization_id == organization_id,
        _r.occurred_at_ns >= span.start_ns,
        _r.occurred_at_ns < span.end_ns,
    )


def _sum(column: Any) -> Any:
    return func.sum(column, type_=BigInteger)
