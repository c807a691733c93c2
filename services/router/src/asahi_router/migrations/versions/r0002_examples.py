"""Questions that were answered, as far as decisions learn from them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table, and finds outcomes by when they were said."""
    op.create_table(
        "examples",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("form", sa.LargeBinary, nullable=False),
        sa.Column("embedding", sa.LargeBinary, nullable=False),
        sa.Column("asked_bytes", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "request_id", name="pk_examples"),
    )
    op.create_index("ix_examples_answered_at", "examples", ["answered_at"])
    op.create_index("ix_outcomes_recorded_at", "outcomes", ["recorded_at"])


def downgrade() -> None:
    """Drops what `upgrade` made."""
    op.drop_index("ix_outcomes_recorded_at", "outcomes")
    op.drop_table("examples")
