"""Answers that were compared with the one that was given. Rows that an older version writes meanwhile are of none."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds what they were compared with, and how they came out."""
    op.add_column("examples", sa.Column("given_model", sa.Text(), nullable=False, server_default=""))
    op.add_column("examples", sa.Column("given_tokens", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("examples", sa.Column("difference", sa.Float(), nullable=False, server_default="0"))
    op.add_column("examples", sa.Column("judge", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Drops it, and the answers that nobody got."""
    op.execute(sa.text("DELETE FROM examples WHERE given_model <> ''"))
    for name in ("judge", "difference", "given_tokens", "given_model"):
        op.drop_column("examples", name)
