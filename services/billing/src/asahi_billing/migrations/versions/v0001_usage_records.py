"""The ledger of usage records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NAME = "usage_records"


def upgrade() -> None:
    """Creates the ledger."""
    op.create_table(
        _NAME,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("occurred_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cost_overhead_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cost_original_nanos", sa.BigInteger()),
        sa.Column("cache_tier", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("repeats_answer", sa.Boolean(), nullable=False),
        sa.Column("coalesced", sa.Boolean(), nullable=False),
        sa.Column("orphan", sa.Boolean(), nullable=False),
        sa.Column("price_unknown", sa.Boolean(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("overhead_ms", sa.Float(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_5m_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_1h_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("savings", sa.JSON(), nullable=False),
        sa.Column("usage_source", sa.Integer(), nullable=False),
        sa.Column("api", sa.Integer(), nullable=False),
        sa.Column("routing_mode", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("price_version", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("routing_reason", sa.Text(), nullable=False),
        sa.Column("reused_usage", sa.JSON()),
        sa.UniqueConstraint("organization_id", "request_id", "attempt", name="usage_records_identity"),
    )
    op.create_index("usage_records_by_time", _NAME, ["organization_id", "occurred_at_ns"])
    _create_partial_index("usage_records_orphans", ["occurred_at_ns", "id"], "orphan")
    _create_partial_index(
        "usage_records_orphans_of_organization", ["organization_id", "occurred_at_ns", "id"], "orphan"
    )
    _create_partial_index("usage_records_repeated_answers", ["id"], "repeats_answer")


def downgrade() -> None:
    """Drops the ledger."""
    op.drop_table(_NAME)


def _create_partial_index(name: str, columns: list[str], flag: str) -> None:
    op.create_index(name, _NAME, columns, sqlite_where=sa.text(f"{flag} = 1"), postgresql_where=sa.text(flag))
