"""What is asked of the ledger's table, as statements of SQLAlchemy's core. Each begins with the organisation."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from asahi_billing.domain.store import OrphanPosition, Span
from asahi_billing.stores.spending_tables import ADJUSTMENTS
from asahi_billing.stores.tables import USAGE_RECORDS

_r = USAGE_RECORDS.c
_a = ADJUSTMENTS.c


def append(dialect: str) -> Insert:
    """Adds a row of `to_row` unless its identity is known.

    Takes `same_organization`, `same_request` and `claims` too: the row's organisation and request once more, and
    whether it says that it answered.
    """
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    earlier = USAGE_RECORDS.alias("earlier")
    answered_before = exists().where(
        earlier.c.organization_id == bindparam("same_organization"),
        earlier.c.request_id == bindparam("same_request"),
        earlier.c.answered == true(),
    )
    values: dict[str, ColumnElement[Any]] = {
        column.name: bindparam(column.name) for column in USAGE_RECORDS.c if column.name != "id"
    }
    values["repeats_answer"] = and_(bindparam("claims"), answered_before)
    return (
        insert(USAGE_RECORDS)
        .values(values)
        .on_conflict_do_nothing(index_elements=["organization_id", "request_id", "attempt"])
    )


def count_repeated_answers() -> Select[Any]:
    """Answered records beyond the first of their request."""
    return select(func.count()).select_from(USAGE_RECORDS).where(_r.repeats_answer == true())


def totals(organization_id: str, span: Span) -> Select[Any]:
    """The sums of `Totals`, all but its savings. Sums over nothing are null."""
    request = and_(_r.answered == true(), _r.repeats_answer != true())
    compared = _r.cost_original_nanos.is_not(None)
    return select(
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


def savings(organization_id: str, span: Span) -> Select[Any]:
    """Technique and sum of what it saved."""
    saving = func.json_each(_r.savings).table_valued("key", "value", name="saving")
    nanos = cast(cast(saving.c.value, Text), BigInteger)  # PostgreSQL's values are JSON, SQLite's are numbers
    return (
        select(saving.c.key, _sum(nanos))
        .select_from(USAGE_RECORDS)
        .join(saving, true())
        .where(*_within(organization_id, span))
        .group_by(saving.c.key)
    )


def adjustments(organization_id: str, span: Span) -> Select[Any]:
    """What repricings added to costs, and the part of it that savings are affected by. Sums over nothing are null."""
    return select(
        _sum(_a.nanos).label("nanos"), _sum(_a.nanos).filter(_a.is_compared == true()).label("compared")
    ).where(
        _a.organization_id == organization_id,
        _a.occurred_at_ns >= span.start_ns,
        _a.occurred_at_ns < span.end_ns,
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
