"""The one other model that might have answered, where there was but one."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the column: what is there was drawn among all."""
    op.add_column("examples", sa.Column("among", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drops what `upgrade` made."""
    op.drop_column("examples", "among")
