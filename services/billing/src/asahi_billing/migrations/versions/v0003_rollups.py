"""Rollups and sketches of latencies, made from the records that are there."""

import sqlalchemy as sa
from alembic import op

from asahi_billing.stores.rollups import backfill

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SUMS = (
    *("cost_nanos", "overhead_nanos", "orphan_nanos", "original_nanos", "compared_nanos", "saved_nanos", "requests"),
    *("tier_1_hits", "tier_2_hits", "tier_3_hits", "coalesced", "calls", "errors", "price_unknown_calls"),
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    *("output_tokens", "reasoning_tokens"),
)


def upgrade() -> None:
    """Creates the tables and fills them."""
    op.create_table(
        "usage_rollups",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("dimension", sa.Text(), primary_key=True),
        sa.Column("hours", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("start_ns", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("value", sa.Text(), primary_key=True),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
    )
    op.create_table(
        "latency_sketches",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("hours", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("start_ns", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("tier", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
    )
    backfill(op.get_bind())


def downgrade() -> None:
    """Drops them: they say nothing that the records do not."""
    op.drop_table("latency_sketches")
    op.drop_table("usage_rollups")
