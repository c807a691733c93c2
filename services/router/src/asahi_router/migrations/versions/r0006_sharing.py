"""Whether an organisation shares what is known of an answer."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the column: what is there is not shared."""
    op.add_column("examples", sa.Column("shared", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drops what `upgrade` made."""
    op.drop_column("examples", "shared")
