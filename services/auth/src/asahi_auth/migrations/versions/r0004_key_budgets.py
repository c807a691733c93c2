"""Budgets of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the column; keys that are there have no budgets."""
    op.add_column("api_keys", sa.Column("budgets", sa.JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Drops the column and what it says."""
    op.drop_column("api_keys", "budgets")
