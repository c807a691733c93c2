"""Policies and their versions, limits and rotation of keys, suspension of organisations, invites."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes what is new; keys and organisations that are there get what was true of them."""
    of_organizations: tuple[sa.Column[Any], ...] = (
        sa.Column("policy_version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("suspended_at", _MOMENT),
        sa.Column("deleted_at", _MOMENT),
    )
    for column in of_organizations:
        op.add_column("organizations", column)
    of_keys: tuple[sa.Column[Any], ...] = (
        sa.Column("rate_limits", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("last_used_at", _MOMENT),
        sa.Column("rotated_from", sa.String, nullable=False, server_default=""),
        sa.Column("rotated_to", sa.String, nullable=False, server_default=""),
        sa.Column("principal_id", sa.String, nullable=False, server_default=""),
    )
    for column in of_keys:
        op.add_column("api_keys", column)
    op.add_column("revocations", sa.Column("organization_id", sa.String, nullable=False, server_default=""))
    op.create_table(
        "policies",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("updated_by", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "version", name="pk_policies"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_policies_organization_id"),
    )
    op.create_table(
        "invites",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("code_sha256", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invites"),
        sa.UniqueConstraint("code_sha256", name="uq_invites_code_sha256"),
    )
    op.create_index("ix_organizations_created_at_id", "organizations", ["created_at", "id"])
    op.create_index("ix_invites_created_at_id", "invites", ["created_at", "id"])


def downgrade() -> None:
    """Drops what is new and all that it holds."""
    op.drop_table("invites")
    op.drop_table("policies")
    op.drop_index("ix_organizations_created_at_id", "organizations")
    op.drop_column("revocations", "organization_id")
    for name in ("rate_limits", "last_used_at", "rotated_from", "rotated_to", "principal_id"):
        op.drop_column("api_keys", name)
    for name in ("policy_version", "suspended_at", "deleted_at"):
        op.drop_column("organizations", name)
