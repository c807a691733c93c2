"""Who was answered, and when an organisation was erased from last."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the columns, of unknown end users in rows that are there, and the table."""
    for table in ("outcomes", "examples"):
        op.add_column(table, sa.Column("user_id", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "erasures",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_erasures"),
    )


def downgrade() -> None:
    """Drops what `upgrade` made."""
    op.drop_table("erasures")
    for table in ("examples", "outcomes"):
        op.drop_column(table, "user_id")
