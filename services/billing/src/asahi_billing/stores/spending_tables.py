"""The tables of budgets. Entries are added, never changed; accounts and holds are what entries add up to."""

from sqlalchemy import BigInteger, Index, LargeBinary, Table, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from asahi_billing.stores.tables import ID


class PlanRow(SQLModel, table=True):
    """The newest spending plan that was told, of an organisation or a key."""

    __tablename__ = "spending_plans"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    api_key_id: str = Field(primary_key=True, sa_type=Text)
    policy_version: int = Field(sa_type=BigInteger)
    plan: bytes = Field(sa_type=LargeBinary)
    """A `SpendingPlan`."""


class AccountRow(SQLModel, table=True):
    """What a budget's entries add up to, for one subject in one window."""

    __tablename__ = "budget_accounts"
    __table_args__ = (Index("budget_accounts_by_window", "organization_id", "window_end_ns"),)

    id: str = Field(primary_key=True, sa_type=Text)
    """A digest of all columns but the two sums."""
    organization_id: str = Field(sa_type=Text)
    api_key_id: str = Field(sa_type=Text)
    per: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    window: int
    timezone: str = Field(sa_type=Text)
    window_start_ns: int = Field(sa_type=BigInteger)
    window_end_ns: int = Field(sa_type=BigInteger)
    spent_nanos: int = Field(sa_type=BigInteger)
    reserved_nanos: int = Field(sa_type=BigInteger)


class HoldRow(SQLModel, table=True):
    """An upper bound that is, or was, set aside for a call."""

    __tablename__ = "holds"
    __table_args__ = (
        Index(
            "holds_open",
            "expires_at_ns",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    organization_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    attempt: int = Field(primary_key=True)
    nanos: int = Field(sa_type=BigInteger)
    held_at_ns: int = Field(sa_type=BigInteger)
    expires_at_ns: int = Field(sa_type=BigInteger)
    state: str = Field(sa_type=Text)


class EntryRow(SQLModel, table=True):
    """What an event of a call changed in an account."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        UniqueConstraint(
            "organization_id", "request_id", "attempt", "kind", "account_id", name="ledger_entries_identity"
        ),
        Index("ledger_entries_by_account", "account_id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=ID)
    organization_id: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Text)
    attempt: int
    kind: str = Field(sa_type=Text)
    account_id: str = Field(sa_type=Text)
    spent_nanos: int = Field(sa_type=BigInteger)
    reserved_nanos: int = Field(sa_type=BigInteger)
    at_ns: int = Field(sa_type=BigInteger)


class AdjustmentRow(SQLModel, table=True):
    """What a repricing added to a recorded cost."""

    __tablename__ = "cost_adjustments"
    __table_args__ = (Index("cost_adjustments_by_time", "organization_id", "occurred_at_ns"),)

    organization_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    attempt: int = Field(primary_key=True)
    repricing_id: str = Field(primary_key=True, sa_type=Text)
    nanos: int = Field(sa_type=BigInteger)
    occurred_at_ns: int = Field(sa_type=BigInteger)
    is_compared: bool
    price_version: str = Field(sa_type=Text)
    at_ns: int = Field(sa_type=BigInteger)


PLANS: Table = SQLModel.metadata.tables["spending_plans"]
ACCOUNTS: Table = SQLModel.metadata.tables["budget_accounts"]
HOLDS: Table = SQLModel.metadata.tables["holds"]
ENTRIES: Table = SQLModel.metadata.tables["ledger_entries"]
ADJUSTMENTS: Table = SQLModel.metadata.tables["cost_adjustments"]
