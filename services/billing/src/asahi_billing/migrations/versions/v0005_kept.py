"""Since when an organisation's usage is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates its table."""
    op.create_table(
        "usage_kept",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drops it."""
    op.drop_table("usage_kept")
