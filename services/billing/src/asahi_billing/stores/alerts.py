"""Alerts in the ledger's database, until they are delivered; and the secrets that they are signed with."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Index, LargeBinary, Table, Text, select, text, update
from sqlmodel import Field, SQLModel

from asahi.billing.v1.alerts_pb2 import AlertState, BudgetAlert
from asahi_billing.domain.alerts import Alert
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.spending_tables import PLANS
from asahi_core.sql.upserts import insert_of

_PENDING, _DELIVERED, _GIVEN_UP = "pending", "delivered", "given_up"
_COLUMNS = ("id", "organization_id", "url", "body", "attempts", "next_at_ns")


class AlertRow(SQLModel, table=True):
    """An alert, once per threshold and window."""

    __tablename__ = "budget_alerts"
    __table_args__ = (
        Index("budget_alerts_by_time", "organization_id", "raised_at_ns"),
        Index(
            "budget_alerts_pending",
            "next_at_ns",
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    """Names account and threshold."""
    organization_id: str = Field(sa_type=Text)
    url: str = Field(sa_type=Text)
    body: bytes = Field(sa_type=LargeBinary)
    state: str = Field(sa_type=Text)
    attempts: int
    next_at_ns: int = Field(sa_type=BigInteger)
    raised_at_ns: int = Field(sa_type=BigInteger)
    ended_at_ns: int | None = Field(sa_type=BigInteger)
    error: str = Field(sa_type=Text)


class AlertSecretRow(SQLModel, table=True):
    """What an organisation's alerts are signed with."""

    __tablename__ = "alert_secrets"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    secret: str = Field(sa_type=Text)


ALERTS: Table = SQLModel.metadata.tables["budget_alerts"]
SECRETS: Table = SQLModel.metadata.tables["alert_secrets"]
_a = ALERTS.c


class SqlAlerts:
    """An `AlertStore`; `new_secret` makes secrets."""

    def __init__(self, desk: Desk, new_secret: Callable[[], str]) -> None:
        self._desk = desk
        self._new_secret = new_secret

    async def organizations(self) -> Sequence[str]:
        """All organisations that have a plan."""
        statement = select(PLANS.c.organization_id).distinct()
        return await self._desk.read(lambda connection: list(connection.execute(statement).scalars()))

    async def raise_once(self, alerts: Sequence[Alert], now_ns: int) -> int:
        """Keeps the alerts that were never raised."""
        rows = [
            {name: getattr(alert, name) for name in _COLUMNS}
            | {"state": _PENDING, "raised_at_ns": now_ns, "ended_at_ns": None, "error": ""}
            for alert in alerts
        ]
        known = select(_a.id).where(_a.id.in_([alert.id for alert in alerts]))

        def keep(connection: Connection) -> int:
            there = set(connection.execute(known).scalars())
            new = [row for row in rows if row["id"] not in there]
            if new:
                connection.execute(insert_of(connection, ALERTS).on_conflict_do_nothing(index_elements=["id"]), new)
            return len(new)

        kept: int = await self._desk.write(keep)
        return kept

    async def claim(self, now_ns: int, until_ns: int, limit: int) -> Sequence[Alert]:
        """Alerts that are due, and nobody else's before `until_ns`."""
        due = (
            select(ALERTS)
            .where(_a.state == _PENDING, _a.next_at_ns <= now_ns)
            .order_by(_a.next_at_ns)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        looked = select(_a.id).where(_a.state == _PENDING, _a.next_at_ns <= now_ns).limit(1)

        def claim(connection: Connection) -> list[Alert]:
            alerts = [Alert(*(getattr(row, name) for name in _COLUMNS)) for row in connection.execute(due)]
            ids = [alert.id for alert in alerts]
            connection.execute(update(ALERTS).where(_a.id.in_(ids)).values(next_at_ns=until_ns))
            return alerts

        if await self._desk.read(lambda connection: connection.execute(looked).first()) is None:
            return []
        claimed: list[Alert] = await self._desk.write(claim)
        return claimed

    async def delivered(self, alert: Alert, now_ns: int) -> None:
        """Notes that it has been taken."""
        await self._change(alert, state=_DELIVERED, ended_at_ns=now_ns, error="")

    async def failed(self, alert: Alert, error: str, next_at_ns: int | None) -> None:
        """Notes a failure."""
        if next_at_ns is None:
            await self._change(alert, state=_GIVEN_UP, ended_at_ns=alert.next_at_ns, error=error)
        else:
            await self._change(alert, next_at_ns=next_at_ns, error=error)

    async def newest(self, organization_id: str, limit: int) -> Sequence[BudgetAlert]:
        """The organisation's newest alerts."""
        newest = (
            select(ALERTS)
            .where(_a.organization_id == organization_id)
            .order_by(_a.raised_at_ns.desc(), _a.id)
            .limit(limit)
        )
        return await self._desk.read(lambda connection: [_told(row) for row in connection.execute(newest)])

    async def secret(self, organization_id: str) -> str:
        """What the organisation's alerts are signed with."""
        kept = select(SECRETS.c.secret).where(SECRETS.c.organization_id == organization_id)
        row = {"organization_id": organization_id, "secret": self._new_secret()}

        def make(connection: Connection) -> str:
            insert = insert_of(connection, SECRETS).on_conflict_do_nothing(index_elements=["organization_id"])
            connection.execute(insert, row)
            return str(connection.execute(kept).scalar_one())

        found = await self._desk.read(lambda connection: connection.execute(kept).scalar())
        if found is not None:
            return str(found)
        made: str = await self._desk.write(make)
        return made

    async def _change(self, alert: Alert, **values: Any) -> None:
        changed = update(ALERTS).where(_a.id == alert.id).values(attempts=alert.attempts + 1, **values)
        await self._desk.write(lambda connection: connection.execute(changed))


def _told(row: Any) -> BudgetAlert:
    alert = BudgetAlert(
        id=row.id,
        state=AlertState.Value(f"ALERT_STATE_{row.state.upper()}"),
        attempts=row.attempts,
        error=row.error,
        body=row.body.decode(),
    )
    alert.raised_at.FromNanoseconds(row.raised_at_ns)
    return alert
