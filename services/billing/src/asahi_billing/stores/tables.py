"""The ledger's table. Rows are added, never changed, and dropped when they are older than they are kept."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, Table, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself in a column of exactly this type."""


class UsageRow(SQLModel, table=True):
    """A usage record; columns are the fields of the message unless they say otherwise.

    What sums are made of comes first: SQLite reads a row from its beginning.
    """

    __tablename__ = "usage_records"
    __table_args__ = (
        UniqueConstraint("organization_id", "request_id", "attempt", name="usage_records_identity"),
        Index("usage_records_by_time", "organization_id", "occurred_at_ns"),
        Index(
            "usage_records_orphans",
            "occurred_at_ns",
            "id",
            sqlite_where=text("orphan = 1"),
            postgresql_where=text("orphan"),
        ),
        Index(
            "usage_records_orphans_of_organization",
            "organization_id",
            "occurred_at_ns",
            "id",
            sqlite_where=text("orphan = 1"),
            postgresql_where=text("orphan"),
        ),
        Index(
            "usage_records_repeated_answers",
            "id",
            sqlite_where=text("repeats_answer = 1"),
            postgresql_where=text("repeats_answer"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=ID)
    organization_id: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Text)
    attempt: int
    occurred_at_ns: int = Field(sa_type=BigInteger)
    """Nanoseconds since 1970."""
    cost_nanos: int = Field(sa_type=BigInteger)
    cost_overhead_nanos: int = Field(sa_type=BigInteger)
    cost_original_nanos: int | None = Field(sa_type=BigInteger)
    cache_tier: int
    answered: bool
    repeats_answer: bool
    """Whether the request had an answered record already when this one came: it is no further request in sums."""
    coalesced: bool
    orphan: bool
    price_unknown: bool
    latency_ms: float
    overhead_ms: float
    input_tokens: int = Field(sa_type=BigInteger)
    cache_read_tokens: int = Field(sa_type=BigInteger)
    cache_write_5m_tokens: int = Field(sa_type=BigInteger)
    cache_write_1h_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    reasoning_tokens: int = Field(sa_type=BigInteger)
    savings: dict[str, int] = Field(sa_type=JSON)
    """Nano-dollars by technique, in the record's order."""
    usage_source: int
    api: int
    routing_mode: int
    model: str = Field(sa_type=Text)
    provider: str = Field(sa_type=Text)
    task_type: str = Field(sa_type=Text)
    api_key_id: str = Field(sa_type=Text)
    user_id: str = Field(sa_type=Text)
    task_id: str = Field(sa_type=Text)
    tags: dict[str, str] = Field(sa_type=JSON)
    price_version: str = Field(sa_type=Text)
    error_code: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})
    routing_reason: str = Field(sa_type=Text)
    reused_usage: dict[str, Any] | None = Field(sa_type=JSON(none_as_null=True))
    """Fields of `Usage`, zeros left out; null where the record has none."""
    usage_details: dict[str, int] | None = Field(sa_type=JSON(none_as_null=True))
    """Fields of `UsageDetails`, zeros left out; null where the usage has none."""


class KeptRow(SQLModel, table=True):
    """Since when an organisation's records are kept, where older ones were dropped."""

    __tablename__ = "usage_kept"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    since_ns: int = Field(sa_type=BigInteger)
    """A midnight, UTC. Rollups of time before it are no longer the sums of records."""


USAGE_RECORDS: Table = UsageRow.metadata.tables["usage_records"]
USAGE_KEPT: Table = KeptRow.metadata.tables["usage_kept"]
