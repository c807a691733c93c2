"""Organisations, their keys, and revocations for the watches."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "organizations",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organizations"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("hash_scheme", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("allowed_models", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_by", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_api_keys_organization_id"),
    )
    op.create_index("ix_api_keys_organization_id_created_at_id", "api_keys", ["organization_id", "created_at", "id"])
    op.create_table(
        "revocations",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("api_key_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_revocations"),
    )
    head = op.create_table(
        "revocation_head",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revocation_head"),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0}])


def downgrade() -> None:
    """Drops the tables and all that they hold."""
    for table in ("revocation_head", "revocations", "api_keys", "organizations"):
        op.drop_table(table)
