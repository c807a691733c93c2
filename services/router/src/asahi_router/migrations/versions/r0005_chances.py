"""How likely it was that the model that answered was drawn."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the columns: of answers that are there nothing is known."""
    op.add_column("examples", sa.Column("baseline", sa.Text, nullable=False, server_default=""))
    op.add_column("examples", sa.Column("propensity", sa.Float, nullable=False, server_default="1"))
    op.add_column("examples", sa.Column("least", sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drops what `upgrade` made."""
    for name in ("least", "propensity", "baseline"):
        op.drop_column("examples", name)
