"""The tables. Made and changed by the migrations alone; a test holds both together."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}


class AuthTable(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """A table of the auth service."""


class OrganizationRow(AuthTable, table=True):
    """An organisation."""

    __tablename__ = "organizations"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: str = Field(primary_key=True)
    name: str
    user_id: str
    email: str
    created_at: datetime
    policy_version: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    suspended_at: datetime | None
    deleted_at: datetime | None


class ApiKeyRow(AuthTable, table=True):
    """An API key, without its secret."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True)
    sha256: bytes
    hash_scheme: str
    organization_id: str = Field(sa_column=Column(ForeignKey("organizations.id"), nullable=False))
    name: str
    user_id: str
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    allowed_models: list[str] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str
    rate_limits: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False, server_default="{}"))
    budgets: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False, server_default="[]"))
    last_used_at: datetime | None
    rotated_from: str = Field(sa_column_kwargs={"server_default": ""})
    rotated_to: str = Field(sa_column_kwargs={"server_default": ""})
    principal_id: str = Field(sa_column_kwargs={"server_default": ""})


class PolicyRow(AuthTable, table=True):
    """A policy in one version."""

    __tablename__ = "policies"

    organization_id: str = Field(sa_column=Column(ForeignKey("organizations.id"), primary_key=True))
    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    updated_at: datetime
    updated_by: str


class InviteRow(AuthTable, table=True):
    """An invite, without its code."""

    __tablename__ = "invites"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: str = Field(primary_key=True)
    code_sha256: bytes = Field(sa_column_kwargs={"unique": True})
    note: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    organization_id: str


class RevocationRow(AuthTable, table=True):
    """A key, or with an empty id an organisation, whose verdicts hold no longer, for the watches of all replicas."""

    __tablename__ = "revocations"

    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    api_key_id: str
    organization_id: str = Field(sa_column_kwargs={"server_default": ""})


class RevocationHeadRow(AuthTable, table=True):
    """The last sequence given to a revocation, in one row.

    Who revokes updates it first and so waits for others who do: revocations become visible in the order of their
    sequences, and who polls for what comes after one misses none.
    """

    __tablename__ = "revocation_head"

    id: int = Field(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))


ORGANIZATIONS = AuthTable.metadata.tables["organizations"]
POLICIES = AuthTable.metadata.tables["policies"]
INVITES = AuthTable.metadata.tables["invites"]
API_KEYS = AuthTable.metadata.tables["api_keys"]
REVOCATIONS = AuthTable.metadata.tables["revocations"]
REVOCATION_HEAD = AuthTable.metadata.tables["revocation_head"]
