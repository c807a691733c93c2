"""The audit chains, and the salts of end users' pseudonyms in them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the tables; chains begin with the first entry after."""
    op.create_table(
        "audit_records",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("details", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("previous", sa.LargeBinary, nullable=False),
        sa.Column("hmac", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "sequence", name="pk_audit_records"),
    )
    op.create_index("ix_audit_records_organization_id_ends", "audit_records", ["organization_id", "ends"])
    op.create_table(
        "audit_heads",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hmac", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_audit_heads"),
    )
    op.create_table(
        "audit_users",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("user_digest", sa.LargeBinary, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "user_digest", name="pk_audit_users"),
    )


def downgrade() -> None:
    """Drops the tables and all that they hold."""
    for table in ("audit_users", "audit_heads", "audit_records"):
        op.drop_table(table)
