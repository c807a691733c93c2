"""The tables. Made and changed by the migrations alone; a test holds both together."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class AuthTable(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """A table of the auth service."""


class OrganizationRow(AuthTable, table=True):
    """An organisation."""

    __tablename__ = "organizations"

    id: str = Field(primary_key=True)
    name: str
    user_id: str
    email: str
    created_at: datetime


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


class RevocationRow(AuthTable, table=True):
    """A key whose verdicts hold no longer, for the watches of all replicas."""

    __tablename__ = "revocations"

    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    api_key_id: str


class RevocationHeadRow(AuthTable, table=True):
    """The last sequence given to a revocation, in one row.

    Who revokes updates it first and so waits for others who do: revocations become visible in the order of their
    sequences, and who polls for what comes after one misses none.
    """

    __tablename__ = "revocation_head"

    id: int = Field(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))


ORGANIZATIONS = AuthTable.metadata.tables["organizations"]
API_KEYS = AuthTable.metadata.tables["api_keys"]
REVOCATIONS = AuthTable.metadata.tables["revocations"]
REVOCATION_HEAD = AuthTable.metadata.tables["revocation_head"]
