"""Taking names out of the ledger's tables: sums stay what they were, under no name."""

import json
from typing import Any

from sqlalchemy import BigInteger, Connection, Float, Text, cast, delete, func, or_, select, tuple_, update

from asahi_billing.domain.figures import FIGURES
from asahi_billing.domain.identities import Step
from asahi_billing.domain.plans import ERASED, LONGEST_SUBJECT
from asahi_billing.domain.rollups import TAG, TAG_NAMES, bounded
from asahi_billing.stores.alerts import ALERTS, SECRETS
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.postings import lock_organizations
from asahi_billing.stores.rollup_tables import ROLLUPS
from asahi_billing.stores.rollups import addition
from asahi_billing.stores.spending_tables import ACCOUNTS, PLANS
from asahi_billing.stores.tables import USAGE_RECORDS

_USER = "user"
_NOBODY = ""
_r, _a = USAGE_RECORDS.c, ACCOUNTS.c


class SqlIdentities:
    """An `IdentityStore` in the ledger's database."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def erase_records(self, organization_id: str, user_id: str, after: tuple[int, int], limit: int) -> Step:
        """Lets at most `limit` records name nobody, in order of time."""
        place = tuple_(_r.occurred_at_ns, _r.id)
        named = _r.user_id == user_id.replace("\0", "\ufffd") if user_id else _names_somebody()
        found = (
            select(_r.id, _r.occurred_at_ns)
            .where(_r.organization_id == organization_id, _r.occurred_at_ns >= after[0], place > tuple_(*after), named)
            .order_by(_r.occurred_at_ns, _r.id)
            .limit(limit)
        )
        names: dict[str, Any] = {"user_id": "", "task_id": ""} | ({} if user_id else {"tags": {}})

        def write(connection: Connection) -> Step:
            lock_organizations(connection, [organization_id])
            rows = connection.execute(found).all()
            connection.execute(update(USAGE_RECORDS).where(_r.id.in_([row.id for row in rows])).values(names))
            full = len(rows) == limit
            return Step(len(rows), (rows[-1].occurred_at_ns, rows[-1].id) if full else None)

        step: Step = await self._desk.write(write)
        return step

    async def erase_sums(self, organization_id: str, user_id: str) -> int:
        """Rollups, accounts and alerts, in one transaction."""

        def write(connection: Connection) -> int:
            lock_organizations(connection, [organization_id])
            _merge_users(connection, organization_id, user_id)
            if user_id:
                return _erase_user(connection, organization_id, user_id.replace("\0", "\ufffd"))
            return _erase_all(connection, organization_id)

        alerts: int = await self._desk.write(write)
        return alerts


def _names_somebody() -> Any:
    return or_(_r.user_id != "", _r.task_id != "", cast(_r.tags, Text) != "{}")


def _merge_users(connection: Connection, organization_id: str, user_id: str) -> None:
    """Adds the rollups of a user, or of all, to those of nobody."""
    rollup = ROLLUPS.c
    of_users = [rollup.organization_id == organization_id, rollup.dimension == _USER]
    of_users.append(rollup.value == bounded(user_id) if user_id else rollup.value != _NOBODY)
    sums = [cast(func.sum(rollup[name]), Float if name == "latency_ms" else BigInteger).label(name) for name in FIGURES]
    merged = select(rollup.hours, rollup.start_ns, *sums).where(*of_users).group_by(rollup.hours, rollup.start_ns)
    key = {"organization_id": organization_id, "dimension": _USER, "value": _NOBODY}
    rows = [{**key, **row} for row in connection.execute(merged).mappings()]
    if rows:
        connection.execute(addition(connection.dialect.name), rows)
        connection.execute(delete(ROLLUPS).where(*of_users))


def _erase_user(connection: Connection, organization_id: str, user_id: str) -> int:
    own = [_a.organization_id == organization_id, _a.per == _USER, _a.subject == user_id[:LONGEST_SUBJECT]]
    accounts = connection.execute(select(_a.id).where(*own)).scalars().all()
    alerts = 0
    for account_id in accounts:
        of_account = ALERTS.c.id.startswith(f"alert_{account_id}_", autoescape=True)
        for row in connection.execute(select(ALERTS.c.id, ALERTS.c.body).where(of_account)).all():
            body = json.loads(row.body)
            body["budget"]["subject"] = None
            nameless = update(ALERTS).where(ALERTS.c.id == row.id).values(body=json.dumps(body).encode())
            alerts += connection.execute(nameless).rowcount
    _erase_subjects(connection, *own)
    return alerts


def _erase_all(connection: Connection, organization_id: str) -> int:
    by_tag = or_(ROLLUPS.c.dimension == TAG_NAMES, ROLLUPS.c.dimension.startswith(TAG, autoescape=True))
    connection.execute(delete(ROLLUPS).where(ROLLUPS.c.organization_id == organization_id, by_tag))
    named = or_(_a.per == _USER, _a.per.startswith(TAG, autoescape=True))
    _erase_subjects(connection, _a.organization_id == organization_id, named)
    for table in (PLANS, SECRETS):
        connection.execute(delete(table).where(table.c.organization_id == organization_id))
    return connection.execute(delete(ALERTS).where(ALERTS.c.organization_id == organization_id)).rowcount


def _erase_subjects(connection: Connection, *accounts: Any) -> None:
    """Accounts keep their id and what they count: who is erased gets no budget anew."""
    connection.execute(update(ACCOUNTS).where(*accounts).values(subject=ERASED + _a.id))
