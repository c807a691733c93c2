"""The tables of rollups: sums that grow with the ledger, in the transactions that add to it."""

from sqlalchemy import BigInteger, Float, LargeBinary, Table, Text
from sqlmodel import Field, SQLModel


class RollupRow(SQLModel, table=True):
    """The figures of an hour or a day, of one value of one dimension; columns are the fields of `Figures`."""

    __tablename__ = "usage_rollups"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    dimension: str = Field(primary_key=True, sa_type=Text)
    hours: int = Field(primary_key=True)
    start_ns: int = Field(primary_key=True, sa_type=BigInteger)
    value: str = Field(primary_key=True, sa_type=Text)
    cost_nanos: int = Field(sa_type=BigInteger)
    overhead_nanos: int = Field(sa_type=BigInteger)
    orphan_nanos: int = Field(sa_type=BigInteger)
    original_nanos: int = Field(sa_type=BigInteger)
    compared_nanos: int = Field(sa_type=BigInteger)
    saved_nanos: int = Field(sa_type=BigInteger)
    requests: int = Field(sa_type=BigInteger)
    tier_1_hits: int = Field(sa_type=BigInteger)
    tier_2_hits: int = Field(sa_type=BigInteger)
    tier_3_hits: int = Field(sa_type=BigInteger)
    coalesced: int = Field(sa_type=BigInteger)
    latency_ms: float = Field(sa_type=Float)
    calls: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    price_unknown_calls: int = Field(sa_type=BigInteger)
    input_tokens: int = Field(sa_type=BigInteger)
    cache_read_tokens: int = Field(sa_type=BigInteger)
    cache_write_5m_tokens: int = Field(sa_type=BigInteger)
    cache_write_1h_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    reasoning_tokens: int = Field(sa_type=BigInteger)


class SketchRow(SQLModel, table=True):
    """The latencies of an hour's or a day's answered requests, of one model and one cache tier."""

    __tablename__ = "latency_sketches"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    hours: int = Field(primary_key=True)
    start_ns: int = Field(primary_key=True, sa_type=BigInteger)
    model: str = Field(primary_key=True, sa_type=Text)
    tier: int = Field(primary_key=True)
    sketch: bytes = Field(sa_type=LargeBinary)
    """A t-digest of milliseconds, as fastdigest writes it."""


ROLLUPS: Table = SQLModel.metadata.tables["usage_rollups"]
SKETCHES: Table = SQLModel.metadata.tables["latency_sketches"]
