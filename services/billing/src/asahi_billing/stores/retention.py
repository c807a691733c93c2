"""Dropping usage that is older than it is kept, from every table that names who asked, in short transactions.

The order is what lets the ledger be checked at any moment: first it is said since when usage is kept, then accounts go
with their entries, then the records. An organisation's rollups by user, key and tag go last; while they are there,
something may be left to drop.
"""

from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, union_all

from asahi.billing.v1.billing_pb2 import SpendingPlan
from asahi_billing.domain.book import HoldState
from asahi_billing.domain.rollups import TAG, TAG_NAMES, day_of
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.postings import lock_organizations
from asahi_billing.stores.rollup_tables import ROLLUPS
from asahi_billing.stores.spending_tables import ACCOUNTS, ADJUSTMENTS, ENTRIES, HOLDS, PLANS
from asahi_billing.stores.tables import USAGE_KEPT, USAGE_RECORDS
from asahi_core.sql.upserts import insert_of

_BY_KEY = "api_key"
"""Every record has a key: its rollups tell which days have records."""
_ACCOUNTS_AT_ONCE = 50


class SqlRetention:
    """A `RetentionStore` in the ledger's database."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def oldest(self) -> dict[str, tuple[int, int]]:
        """First days, and days to keep, by organisation."""
        days = select(ROLLUPS.c.organization_id, ROLLUPS.c.start_ns.label("first_ns")).where(
            ROLLUPS.c.dimension == _BY_KEY, ROLLUPS.c.hours == 24
        )
        ends = select(ACCOUNTS.c.organization_id, ACCOUNTS.c.window_end_ns.label("first_ns"))
        both = union_all(days, ends).subquery()
        first = select(both.c.organization_id, func.min(both.c.first_ns).label("first_ns")).group_by(
            both.c.organization_id
        )
        own = select(PLANS.c.organization_id, PLANS.c.plan).where(PLANS.c.api_key_id == "")

        def read(connection: Connection) -> dict[str, tuple[int, int]]:
            days = {
                row.organization_id: SpendingPlan.FromString(row.plan).usage_days for row in connection.execute(own)
            }
            return {
                row.organization_id: (row.first_ns, days.get(row.organization_id, 0))
                for row in connection.execute(first)
            }

        return await self._desk.read(read)

    async def keep_since(self, organization_id: str, instant_ns: int) -> int:
        """Says so, unless less is kept already."""

        def write(connection: Connection) -> int:
            lock_organizations(connection, [organization_id])
            since_ns = _before_holds(connection, organization_id, instant_ns)
            insert = insert_of(connection, USAGE_KEPT)
            said = insert.on_conflict_do_update(
                index_elements=["organization_id"],
                set_={"since_ns": insert.excluded.since_ns},
                where=USAGE_KEPT.c.since_ns < insert.excluded.since_ns,
            )
            connection.execute(said, {"organization_id": organization_id, "since_ns": since_ns})
            return since_ns

        since_ns: int = await self._desk.write(write)
        return since_ns

    async def drop(self, organization_id: str, before_ns: int, limit: int) -> int:
        """Drops old accounts, then at most `limit` records, and at last what rollups say of who asked."""

        def write(connection: Connection) -> int:
            lock_organizations(connection, [organization_id])
            _drop_accounts(connection, organization_id, before_ns)
            dropped = _drop_records(connection, organization_id, before_ns, limit)
            if not dropped:
                _drop_rest(connection, organization_id, before_ns)
            return dropped

        while await self._desk.write(lambda connection: _drop_accounts(connection, organization_id, before_ns)):
            pass
        dropped: int = await self._desk.write(write)
        return dropped


def _before_holds(connection: Connection, organization_id: str, instant_ns: int) -> int:
    """The last midnight that is not after `instant_ns`, nor after an open hold's beginning."""
    hold = HOLDS.c
    first = select(func.min(hold.held_at_ns)).where(
        hold.organization_id == organization_id, hold.state == HoldState.OPEN.value
    )
    held_ns = connection.execute(first).scalar_one()
    return day_of(instant_ns if held_ns is None else min(instant_ns, held_ns))


def _drop_accounts(connection: Connection, organization_id: str, before_ns: int) -> int:
    """Some accounts that were over, with all their entries; how many."""
    account = ACCOUNTS.c
    old = select(account.id).where(account.organization_id == organization_id, account.window_end_ns <= before_ns)
    ids = connection.execute(old.limit(_ACCOUNTS_AT_ONCE)).scalars().all()
    if ids:
        connection.execute(delete(ENTRIES).where(ENTRIES.c.account_id.in_(ids)))
        connection.execute(delete(ACCOUNTS).where(account.id.in_(ids)))
    return len(ids)


def _drop_records(connection: Connection, organization_id: str, before_ns: int, limit: int) -> int:
    record = USAGE_RECORDS.c
    old = select(record.id).where(record.organization_id == organization_id, record.occurred_at_ns < before_ns)
    dropped = connection.execute(delete(USAGE_RECORDS).where(record.id.in_(old.limit(limit))))
    return dropped.rowcount


def _drop_rest(connection: Connection, organization_id: str, before_ns: int) -> None:
    """Repricings and holds of dropped calls, and rollups that name who asked."""
    by_whom = or_(
        ROLLUPS.c.dimension.in_([_BY_KEY, "user", TAG_NAMES]),
        ROLLUPS.c.dimension.startswith(TAG, autoescape=True),
    )
    for table, *conditions in (
        (ADJUSTMENTS, ADJUSTMENTS.c.occurred_at_ns < before_ns),
        (HOLDS, HOLDS.c.held_at_ns < before_ns),
        (ROLLUPS, ROLLUPS.c.start_ns < before_ns, by_whom),
    ):
        connection.execute(_delete(table, organization_id, *conditions))


def _delete(table: Any, organization_id: str, *conditions: Any) -> Any:
    return delete(table).where(table.c.organization_id == organization_id, *conditions)
