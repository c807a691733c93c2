"""What the calls themselves say against answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the column: nothing is said against answers that are there."""
    op.add_column("examples", sa.Column("signal", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drops what `upgrade` made."""
    op.drop_column("examples", "signal")
