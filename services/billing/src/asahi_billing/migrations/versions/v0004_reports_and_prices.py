"""Imported cost reports, organisations' own prices, what repricings book, and alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates their tables."""
    op.create_table(
        "report_imports",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("imported_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("first_day", sa.Text(), nullable=False),
        sa.Column("last_day", sa.Text(), nullable=False),
    )
    op.create_table(
        "report_days",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("day", sa.Text(), primary_key=True),
        sa.Column("provider", sa.Text(), primary_key=True),
        sa.Column("format", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("import_id", sa.Text(), nullable=False),
    )
    op.create_table(
        "reported_charges",
        *(
            sa.Column(name, sa.Text(), primary_key=True)
            for name in ("import_id", "day", "provider", "model", "item", "key")
        ),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger()),
    )
    op.create_table(
        "price_sheets",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger(), nullable=False, unique=True),
        sa.Column("sheet", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "cost_adjustments",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("request_id", sa.Text(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("repricing_id", sa.Text(), primary_key=True),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("is_compared", sa.Boolean(), nullable=False),
        sa.Column("price_version", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
    )
    op.create_index("cost_adjustments_by_time", "cost_adjustments", ["organization_id", "occurred_at_ns"])
    op.create_table(
        "budget_alerts",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("raised_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ns", sa.BigInteger()),
        sa.Column("error", sa.Text(), nullable=False),
    )
    op.create_index("budget_alerts_by_time", "budget_alerts", ["organization_id", "raised_at_ns"])
    pending = sa.text("state = 'pending'")
    op.create_index(
        "budget_alerts_pending", "budget_alerts", ["next_at_ns"], sqlite_where=pending, postgresql_where=pending
    )
    op.create_table(
        "alert_secrets",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("secret", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drops them."""
    for name in (
        "alert_secrets",
        "budget_alerts",
        "cost_adjustments",
        "price_sheets",
        "reported_charges",
        "report_days",
        "report_imports",
    ):
        op.drop_table(name)
