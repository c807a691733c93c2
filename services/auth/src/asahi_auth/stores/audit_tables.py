"""The tables of the audit chains. Records are only ever added; nothing here refers to them or from them."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Index
from sqlmodel import Field

from asahi_auth.stores.tables import AuthTable


class AuditRecordRow(AuthTable, table=True):
    """A record of a chain."""

    __tablename__ = "audit_records"
    __table_args__ = (Index(None, "organization_id", "ends"),)

    organization_id: str = Field(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    occurred_at: datetime
    actor: str
    action: str
    target: str
    details: str
    outcome: str
    address: str
    request_id: str
    ends: int = Field(sa_column=Column(BigInteger, nullable=False))
    previous: bytes
    hmac: bytes


class AuditHeadRow(AuthTable, table=True):
    """The end of a chain. Who appends locks it first, so that sequences have no gaps."""

    __tablename__ = "audit_heads"

    organization_id: str = Field(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    hmac: bytes


class AuditUserRow(AuthTable, table=True):
    """The salt of an end user's pseudonym. Without this row nobody can tell whose the pseudonym is."""

    __tablename__ = "audit_users"

    organization_id: str = Field(primary_key=True)
    user_digest: bytes = Field(primary_key=True)
    salt: bytes


AUDIT_RECORDS = AuthTable.metadata.tables["audit_records"]
AUDIT_HEADS = AuthTable.metadata.tables["audit_heads"]
AUDIT_USERS = AuthTable.metadata.tables["audit_users"]
