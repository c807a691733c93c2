"""Responses that are kept for their callers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "stored_responses",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("previous_response_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("output", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "response_id", name="pk_stored_responses"),
    )
    op.create_index(
        "stored_responses_by_conversation",
        "stored_responses",
        ["organization_id", "conversation_id", "expires_at_ns"],
    )
    op.create_index("stored_responses_by_expiry", "stored_responses", ["expires_at_ns"])
    op.create_index("stored_responses_by_user", "stored_responses", ["organization_id", "user_id"])


def downgrade() -> None:
    """Drops the table."""
    op.drop_table("stored_responses")
