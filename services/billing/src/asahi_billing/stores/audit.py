"""Adding the ledger up again: every total from its entries, every reservation from the open holds."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, cast, func, or_, select, union_all

from asahi_billing.domain.book import Balance, EntryKind, HoldState
from asahi_billing.domain.plans import AccountKey, Call
from asahi_billing.domain.rollups import ALL, GRAINS
from asahi_billing.domain.spending_store import Audit, Break
from asahi_billing.stores.postings import account_key
from asahi_billing.stores.rollup_tables import ROLLUPS
from asahi_billing.stores.spending_tables import ACCOUNTS, ADJUSTMENTS, ENTRIES, HOLDS, PLANS
from asahi_billing.stores.tables import USAGE_KEPT, USAGE_RECORDS

_CALL = ("organization_id", "request_id", "attempt")


def overdue(now_ns: int, limit: int) -> Select[Any]:
    """Open holds whose lease is over, longest first."""
    return (
        select(*(HOLDS.c[name] for name in _CALL))
        .where(HOLDS.c.state == HoldState.OPEN.value, HOLDS.c.expires_at_ns <= now_ns)
        .order_by(HOLDS.c.expires_at_ns)
        .limit(limit)
    )


def plans(organization_id: str) -> Select[Any]:
    """The organisation's plans, its own first."""
    return select(PLANS.c.plan).where(PLANS.c.organization_id == organization_id).order_by(PLANS.c.api_key_id)


def present(organization_id: str, now_ns: int, limit: int) -> Select[Any]:
    """The organisation's accounts whose window holds an instant, the largest first."""
    return (
        select(ACCOUNTS)
        .where(
            ACCOUNTS.c.organization_id == organization_id,
            ACCOUNTS.c.window_end_ns > now_ns,
            ACCOUNTS.c.window_start_ns <= now_ns,
        )
        .order_by(ACCOUNTS.c.spent_nanos.desc(), ACCOUNTS.c.id)
        .limit(limit)
    )


def standing(rows: Any) -> dict[AccountKey, Balance]:
    """What rows of `present` say."""
    return {account_key(row): Balance(row.spent_nanos, row.reserved_nanos) for row in rows}


def call(row: Any) -> Call:
    """The call that a row is of."""
    return Call(row.organization_id, row.request_id, row.attempt)


def audit(connection: Connection, organization_id: str, limit: int) -> Audit:
    """Adds everything up, of an organisation or of all (empty), in one state of the database."""

    def count(table: Any, *conditions: Any) -> int:
        own = [table.c.organization_id == organization_id] if organization_id else []
        return int(connection.execute(select(func.count()).select_from(table).where(*own, *conditions)).scalar_one())

    breaks = [
        *_accounts(connection, organization_id, limit),
        *_entries(connection, organization_id, limit),
        *_rollups(connection, organization_id, limit),
    ]
    return Audit(
        accounts=count(ACCOUNTS),
        entries=count(ENTRIES),
        open_holds=count(HOLDS, HOLDS.c.state == HoldState.OPEN.value),
        breaks=breaks[:limit],
    )


def _accounts(connection: Connection, organization_id: str, limit: int) -> Iterator[Break]:
    """Accounts that are not what their entries, or the open holds, add up to; entries without an account, too."""
    sums = select(
        ENTRIES.c.account_id,
        func.min(ENTRIES.c.organization_id).label("organization_id"),
        _sum(ENTRIES.c.spent_nanos).label("spent"),
        _sum(ENTRIES.c.reserved_nanos).label("reserved"),
    ).group_by(ENTRIES.c.account_id)
    open_holds = (
        select(ENTRIES.c.account_id, _sum(ENTRIES.c.reserved_nanos).label("held"))
        .join(HOLDS, and_(*(HOLDS.c[name] == ENTRIES.c[name] for name in _CALL)))
        .where(HOLDS.c.state == HoldState.OPEN.value, ENTRIES.c.kind == EntryKind.HOLD.value)
        .group_by(ENTRIES.c.account_id)
    )
    if organization_id:
        sums = sums.where(ENTRIES.c.organization_id == organization_id)
        open_holds = open_holds.where(ENTRIES.c.organization_id == organization_id)
    total, held = sums.subquery(), open_holds.subquery()
    spent, reserved = _zero(total.c.spent), _zero(total.c.reserved)
    found_spent, found_reserved = _zero(ACCOUNTS.c.spent_nanos), _zero(ACCOUNTS.c.reserved_nanos)
    wrong = or_(spent != found_spent, reserved != found_reserved, found_reserved != _zero(held.c.held))
    statement = (
        select(
            ACCOUNTS,
            total.c.account_id.label("entries_of"),
            total.c.organization_id.label("entries_organization_id"),
            spent.label("spent"),
            reserved.label("reserved"),
            _zero(held.c.held).label("held"),
        )
        .select_from(ACCOUNTS.join(total, total.c.account_id == ACCOUNTS.c.id, full=True))
        .outerjoin(held, held.c.account_id == func.coalesce(ACCOUNTS.c.id, total.c.account_id))
        .where(wrong)
        .limit(limit)
    )
    if organization_id:
        statement = statement.where(
            func.coalesce(ACCOUNTS.c.organization_id, total.c.organization_id) == organization_id
        )
    for row in connection.execute(statement):
        owner, place = row.organization_id or row.entries_organization_id, _place(row)
        found_spent_nanos, found_reserved_nanos = row.spent_nanos or 0, row.reserved_nanos or 0
        if row.spent != found_spent_nanos:
            yield Break("spent", owner, place, row.spent, found_spent_nanos)
        if row.reserved != found_reserved_nanos:
            yield Break("reserved", owner, place, row.reserved, found_reserved_nanos)
        if row.held != found_reserved_nanos:
            yield Break("holds", owner, place, row.held, found_reserved_nanos)


def _entries(connection: Connection, organization_id: str, limit: int) -> Iterator[Break]:
    """Entries that spend something else than the record of their call says, or whose record is missing.

    The account of a window in which records begin to be kept has entries of records that are not.
    """
    record = and_(*(USAGE_RECORDS.c[name] == ENTRIES.c[name] for name in _CALL))
    cost = _zero(USAGE_RECORDS.c.cost_nanos)
    statement = (
        select(*(ENTRIES.c[name] for name in _CALL), ENTRIES.c.spent_nanos, cost.label("cost"))
        .select_from(_with_time_kept(ENTRIES.outerjoin(USAGE_RECORDS, record)))
        .where(ENTRIES.c.kind == EntryKind.SPEND.value, cost != ENTRIES.c.spent_nanos)
        .where(or_(USAGE_RECORDS.c.id.is_not(None), _ENTRY_IS_KEPT))
        .limit(limit)
    )
    adjustment = and_(
        *(ADJUSTMENTS.c[name] == ENTRIES.c[name] for name in _CALL), ADJUSTMENTS.c.repricing_id == ENTRIES.c.kind
    )
    adjusted = _zero(ADJUSTMENTS.c.nanos)
    repriced = (
        select(*(ENTRIES.c[name] for name in _CALL), ENTRIES.c.spent_nanos, adjusted.label("cost"))
        .select_from(_with_time_kept(ENTRIES.outerjoin(ADJUSTMENTS, adjustment)))
        .where(ENTRIES.c.kind.not_in([kind.value for kind in EntryKind]), adjusted != ENTRIES.c.spent_nanos)
        .where(or_(ADJUSTMENTS.c.nanos.is_not(None), _ENTRY_IS_KEPT))
        .limit(limit)
    )
    for one in (statement, repriced):
        own = one.where(ENTRIES.c.organization_id == organization_id) if organization_id else one
        for row in connection.execute(own):
            place = f"request {row.request_id}, attempt {row.attempt}"
            yield Break("record", row.organization_id, place, row.cost, row.spent_nanos)


def _rollups(connection: Connection, organization_id: str, limit: int) -> Iterator[Break]:
    """Organisations whose rollups, by hour or by day, cost something else than their records and repricings.

    Of the time for which records are kept.
    """
    costs = union_all(
        _kept(USAGE_RECORDS, USAGE_RECORDS.c.cost_nanos, USAGE_RECORDS.c.occurred_at_ns),
        _kept(ADJUSTMENTS, ADJUSTMENTS.c.nanos, ADJUSTMENTS.c.occurred_at_ns),
    ).subquery()
    records = select(costs.c.organization_id, _sum(costs.c.cost).label("cost"))
    if organization_id:
        records = records.where(costs.c.organization_id == organization_id)
    total = records.group_by(costs.c.organization_id).subquery()
    for hours in GRAINS:
        kept = _kept(ROLLUPS, ROLLUPS.c.cost_nanos, ROLLUPS.c.start_ns)
        found_costs = kept.where(ROLLUPS.c.dimension == ALL, ROLLUPS.c.hours == hours).subquery()
        rolled = (
            select(found_costs.c.organization_id, _sum(found_costs.c.cost).label("cost"))
            .group_by(found_costs.c.organization_id)
            .subquery()
        )
        found = _zero(rolled.c.cost)
        statement = (
            select(total.c.organization_id, total.c.cost, found.label("found"))
            .select_from(total.outerjoin(rolled, rolled.c.organization_id == total.c.organization_id))
            .where(found != total.c.cost)
            .limit(limit)
        )
        for row in connection.execute(statement):
            yield Break("rollups", row.organization_id, f"rollups of {hours} h", row.cost, row.found)


def _with_time_kept(entries: Any) -> Any:
    """Entries beside their account, and since when their organisation's records are kept."""
    accounts = entries.outerjoin(ACCOUNTS, ACCOUNTS.c.id == ENTRIES.c.account_id)
    return accounts.outerjoin(USAGE_KEPT, USAGE_KEPT.c.organization_id == ENTRIES.c.organization_id)


def _kept(table: Any, cost: Any, at_ns: Any) -> Select[Any]:
    """Organisation and cost of what is of the time for which records are kept."""
    is_kept = at_ns >= _zero(USAGE_KEPT.c.since_ns)
    joined = table.outerjoin(USAGE_KEPT, USAGE_KEPT.c.organization_id == table.c.organization_id)
    return select(table.c.organization_id, cost.label("cost")).select_from(joined).where(is_kept)


def _place(row: Any) -> str:
    if row.id is None:
        return f"entries of account {row.entries_of}, which is missing"
    own = f", key {row.api_key_id}" if row.api_key_id else ""
    return (
        f"account {row.id}: per {row.per}{own}, subject {row.subject[:80]!r}, "
        f"window {row.window_start_ns} to {row.window_end_ns} ns ({row.timezone})"
    )


def _sum(column: Any) -> Any:
    return cast(func.sum(column), BigInteger)


def _zero(column: Any) -> Any:
    return func.coalesce(column, 0)


_ENTRY_IS_KEPT = func.coalesce(ACCOUNTS.c.window_start_ns, USAGE_KEPT.c.since_ns, 0) >= _zero(USAGE_KEPT.c.since_ns)
"""Whether all records are kept that the entry's account counts."""
