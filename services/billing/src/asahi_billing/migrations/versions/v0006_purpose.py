"""What a call was made for that answered nobody. Records that an older version writes meanwhile have no purpose."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds it."""
    op.add_column("usage_records", sa.Column("purpose", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Drops it."""
    op.drop_column("usage_records", "purpose")
