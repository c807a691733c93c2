"""A transaction's part of the ledger: read into a `Book`, and what the book has changed written back."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select, text

from asahi.billing.v1.billing_pb2 import SpendingPlan
from asahi_billing.domain.book import Balance, Book, EntryKind, Hold, HoldState
from asahi_billing.domain.operations import Operation
from asahi_billing.domain.plans import AccountKey, Call
from asahi_billing.domain.store import Span
from asahi_billing.stores.spending_tables import ACCOUNTS, ADJUSTMENTS, ENTRIES, HOLDS, PLANS
from asahi_billing.stores.tables import USAGE_RECORDS
from asahi_core.sql.upserts import insert_into

_AT_ONCE = 5_000
"""Values of an IN; SQLite takes 32 766 parameters."""
_SUMS = ("spent_nanos", "reserved_nanos")
_LOCK = text("SELECT count(pg_advisory_xact_lock(key)) FROM unnest(cast(:keys AS bigint[])) AS key")


def _of(table: Table, *columns: str) -> Select[Any]:
    """Rows of some requests of some organisations."""
    return select(*(table.c[name] for name in columns or table.c.keys())).where(
        table.c.organization_id.in_(bindparam("organizations", expanding=True)),
        table.c.request_id.in_(bindparam("requests", expanding=True)),
    )


# Statements are made once: making one costs more than to run it.
_PLANS = select(PLANS.c.plan).where(
    PLANS.c.organization_id.in_(bindparam("organizations", expanding=True)),
    PLANS.c.api_key_id.in_(bindparam("keys", expanding=True)),
)
_BALANCES = select(ACCOUNTS.c.id, ACCOUNTS.c.spent_nanos, ACCOUNTS.c.reserved_nanos).where(
    ACCOUNTS.c.id.in_(bindparam("ids", expanding=True))
)
_HOLDS = _of(HOLDS)
_HELD = _of(ENTRIES).where(ENTRIES.c.kind == EntryKind.HOLD)
_SPENT = _of(ENTRIES).where(ENTRIES.c.kind == EntryKind.SPEND)
_ADJUSTED = _of(ADJUSTMENTS)
_RECORDED = _of(USAGE_RECORDS, "organization_id", "request_id", "attempt")
_ADDING_ENTRIES = ENTRIES.insert()
_ADDING_TO_ACCOUNTS = (
    ACCOUNTS.update()
    .where(ACCOUNTS.c.id == bindparam("the_id"))
    .values({name: ACCOUNTS.c[name] + bindparam(f"the_{name}") for name in _SUMS})
)


@cache
def _keeping_plans(dialect: str) -> Any:
    return _upsert(dialect, PLANS, "policy_version", "plan")


@cache
def _keeping_holds(dialect: str) -> Any:
    return _upsert(dialect, HOLDS, "expires_at_ns", "state")


@cache
def _making_accounts(dialect: str) -> Any:
    insert = insert_into(ACCOUNTS, dialect)
    added = {name: ACCOUNTS.c[name] + insert.excluded[name] for name in _SUMS}
    return insert.on_conflict_do_update(index_elements=["id"], set_=added)


def _upsert(dialect: str, table: Table, *changed: str) -> Any:
    insert = insert_into(table, dialect)
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: insert.excluded[name] for name in changed}
    )


def lock(connection: Connection, operations: Sequence[Operation]) -> None:
    """Keeps other processes from changing these organisations until the transaction ends.

    Locks are taken in one order everywhere, so that transactions wait for each other and never in a circle. SQLite's
    transactions exclude each other from their beginning.
    """
    lock_organizations(connection, {call.organization_id for operation in operations for call in operation.calls})


def lock_organizations(connection: Connection, names: Iterable[str]) -> None:
    """As `lock`, by name."""
    if connection.dialect.name == "sqlite":
        return
    keys = sorted(
        {int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True) for name in names}
    )
    connection.execute(_LOCK, {"keys": keys})


def load(connection: Connection, operations: Sequence[Operation], book: Book) -> None:
    """Reads what `operations` need, and tells the book of their plans."""
    organizations = {call.organization_id for operation in operations for call in operation.calls}
    keys = {""} | {record.api_key_id for operation in operations for record in operation.records}
    keys |= {key for operation in operations for key in operation.keys}
    keys |= {plan.api_key_id for operation in operations for plan in operation.plans}
    for some in _parts(organizations):
        for (plan,) in connection.execute(_PLANS, {"organizations": some, "keys": list(keys)}):
            told = SpendingPlan.FromString(plan)
            book.plans[told.organization_id, told.api_key_id] = told
    for operation in operations:
        for plan in operation.plans:
            book.tell(plan)
    _load_repriced(connection, {call for operation in operations for call in operation.repriced}, book)
    budgeted = {organization for organization, _ in book.plans}
    calls = {c for operation in operations for c in operation.calls if c.organization_id in budgeted}
    if not calls:
        return
    _load_calls(connection, calls, book)
    reservations = [request for operation in operations for request in operation.reservations]
    needed = {key.id for request in reservations for key, _ in book.accounts(request, book.now_ns)}
    for some in _parts(needed):
        found = connection.execute(_BALANCES, {"ids": some})
        book.balances |= {row.id: Balance(row.spent_nanos, row.reserved_nanos) for row in found}


def save(connection: Connection, book: Book) -> None:
    """Writes what the book has changed."""
    if book.told:
        plans = [
            {
                "organization_id": plan.organization_id,
                "api_key_id": plan.api_key_id,
                "policy_version": plan.policy_version,
                "plan": plan.SerializeToString(),
            }
            for _, plan in sorted(book.told.items())
        ]
        connection.execute(_keeping_plans(connection.dialect.name), plans)
    if book.changed_holds:
        holds = [hold_row(hold) for _, hold in sorted(book.changed_holds.items())]
        connection.execute(_keeping_holds(connection.dialect.name), holds)
    if book.changes:
        _save_accounts(connection, book)
        entries = [
            {
                "organization_id": entry.call.organization_id,
                "request_id": entry.call.request_id,
                "attempt": entry.call.attempt,
                "kind": str(entry.kind),
                "account_id": entry.account_id,
                "spent_nanos": entry.spent_nanos,
                "reserved_nanos": entry.reserved_nanos,
                "at_ns": entry.at_ns,
            }
            for entry in book.entries
        ]
        connection.execute(_ADDING_ENTRIES, entries)


def save_adjustments(connection: Connection, book: Book) -> None:
    """Writes what repricings add to recorded costs."""
    rows = [
        {
            "organization_id": one.record.organization_id,
            "request_id": one.record.request_id,
            "attempt": one.record.attempt,
            "repricing_id": one.repricing_id,
            "nanos": one.nanos,
            "occurred_at_ns": one.record.occurred_at.ToNanoseconds(),
            "is_compared": one.record.HasField("cost_original_nanos"),
            "price_version": one.price_version,
            "at_ns": book.now_ns,
        }
        for one in book.adjustments
    ]
    if rows:
        connection.execute(ADJUSTMENTS.insert(), rows)


def account_key(row: Any) -> AccountKey:
    """What the account of a row is of."""
    return AccountKey(
        *(row.organization_id, row.api_key_id, row.per, row.subject, row.window, row.timezone),
        Span(row.window_start_ns, row.window_end_ns),
    )


def hold_row(hold: Hold) -> dict[str, Any]:
    """A hold's columns."""
    return {
        "organization_id": hold.call.organization_id,
        "request_id": hold.call.request_id,
        "attempt": hold.call.attempt,
        "nanos": hold.nanos,
        "held_at_ns": hold.held_at_ns,
        "expires_at_ns": hold.expires_at_ns,
        "state": str(hold.state),
    }


def _load_calls(connection: Connection, calls: set[Call], book: Book) -> None:
    """Their holds, what these reserve, and which are recorded already."""
    organizations = list({call.organization_id for call in calls})
    for some in _parts({call.request_id for call in calls}):
        named = {"organizations": organizations, "requests": some}
        for row in connection.execute(_HOLDS, named):
            call = _call(row)
            book.holds[call] = Hold(call, row.nanos, row.held_at_ns, row.expires_at_ns, HoldState(row.state))
        if book.holds:
            for row in connection.execute(_HELD, named):
                book.held.setdefault(_call(row), {})[row.account_id] = row.reserved_nanos
        book.recorded.update(_call(row) for row in connection.execute(_RECORDED, named))


def _load_repriced(connection: Connection, calls: set[Call], book: Book) -> None:
    """The accounts that recorded calls count in, and what repricings have added to their costs."""
    organizations = list({call.organization_id for call in calls})
    for some in _parts({call.request_id for call in calls}):
        named = {"organizations": organizations, "requests": some}
        for row in connection.execute(_SPENT, named):
            if row.spent_nanos:
                book.spent.setdefault(_call(row), set()).add(row.account_id)
        for row in connection.execute(_ADJUSTED, named):
            book.adjusted[_call(row)] = book.adjusted.get(_call(row), 0) + row.nanos


def _save_accounts(connection: Connection, book: Book) -> None:
    made, known = [], []
    for account_id, change in sorted(book.changes.items()):
        row = {"id": account_id, "spent_nanos": change.spent_nanos, "reserved_nanos": change.reserved_nanos}
        key = book.named.get(account_id)
        if key is None:
            known.append({f"the_{name}": value for name, value in row.items()})
            continue
        made.append(
            row
            | {
                "organization_id": key.organization_id,
                "api_key_id": key.api_key_id,
                "per": key.per,
                "subject": key.subject,
                "window": key.window,
                "timezone": key.timezone,
                "window_start_ns": key.span.start_ns,
                "window_end_ns": key.span.end_ns,
            }
        )
    if made:
        connection.execute(_making_accounts(connection.dialect.name), made)
    if known:
        connection.execute(_ADDING_TO_ACCOUNTS, known)


def _call(row: Any) -> Call:
    return Call(row.organization_id, row.request_id, row.attempt)


def _parts(values: set[str]) -> Iterable[list[str]]:
    ordered = sorted(values)
    return (ordered[start : start + _AT_ONCE] for start in range(0, len(ordered), _AT_ONCE))
