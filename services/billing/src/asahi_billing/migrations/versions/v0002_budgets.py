"""Budget accounts, their entries, holds, and the plans that say which budgets there are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables of budgets, and keeps what else decides a price."""
    op.add_column("usage_records", sa.Column("usage_details", sa.JSON()))
    op.create_table(
        "spending_plans",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("api_key_id", sa.Text(), primary_key=True),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "budget_accounts",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("per", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("window_start_ns", sa.BigInteger(), nullable=False),
        sa.Column("window_end_ns", sa.BigInteger(), nullable=False),
        sa.Column("spent_nanos", sa.BigInteger(), nullable=False),
        sa.Column("reserved_nanos", sa.BigInteger(), nullable=False),
    )
    op.create_index("budget_accounts_by_window", "budget_accounts", ["organization_id", "window_end_ns"])
    op.create_table(
        "holds",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("request_id", sa.Text(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.Column("held_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
    )
    is_open = sa.text("state = 'open'")
    op.create_index("holds_open", "holds", ["expires_at_ns"], sqlite_where=is_open, postgresql_where=is_open)
    identity = ("organization_id", "request_id", "attempt", "kind", "account_id")
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("spent_nanos", sa.BigInteger(), nullable=False),
        sa.Column("reserved_nanos", sa.BigInteger(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint(*identity, name="ledger_entries_identity"),
    )
    op.create_index("ledger_entries_by_account", "ledger_entries", ["account_id"])


def downgrade() -> None:
    """Drops them."""
    for name in ("ledger_entries", "holds", "budget_accounts", "spending_plans"):
        op.drop_table(name)
    op.drop_column("usage_records", "usage_details")
