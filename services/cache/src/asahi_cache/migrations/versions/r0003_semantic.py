"""Evidence about tier 2: outcomes, ledgers, and what was served."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "semantic_outcomes",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stratum", sa.Integer, nullable=False),
        sa.Column("stored", sa.LargeBinary, nullable=False),
        sa.Column("wrong", sa.Boolean, nullable=False),
        sa.Column("propensity", sa.Float, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "number", name="pk_semantic_outcomes"),
    )
    op.create_index("semantic_outcomes_by_request", "semantic_outcomes", ["organization_id", "request_id"])
    op.create_index("semantic_outcomes_by_age", "semantic_outcomes", ["at_ns"])
    op.create_table(
        "semantic_ledgers",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("false_hit_bound", sa.Float, nullable=False),
        sa.Column("folded", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "rule", "false_hit_bound", name="pk_semantic_ledgers"),
    )
    op.create_table(
        "semantic_hits",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("stratum", sa.Integer, nullable=False),
        sa.Column("stored", sa.LargeBinary, nullable=False),
        sa.Column("false_hit_bound", sa.Float, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "request_id", name="pk_semantic_hits"),
    )
    op.create_index("semantic_hits_by_age", "semantic_hits", ["at_ns"])


def downgrade() -> None:
    """Drops the tables."""
    for table in ("semantic_hits", "semantic_ledgers", "semantic_outcomes"):
        op.drop_table(table)
