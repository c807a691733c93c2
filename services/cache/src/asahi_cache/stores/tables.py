"""The cache service's table."""

from sqlalchemy import BigInteger, Index, MetaData, Table, Text
from sqlmodel import Field, SQLModel


class CacheTable(SQLModel):
    """Tables of the cache service's own, whatever others are loaded."""

    metadata = MetaData()


class ReplayRow(CacheTable, table=True):
    """A request that is to be made once; columns are the fields of `domain.replays.Replay`."""

    __tablename__ = "replays"
    __table_args__ = (Index("replays_by_expiry", "expires_at_ns"),)

    organization_id: str = Field(primary_key=True, sa_type=Text)
    digest: bytes = Field(primary_key=True)
    body_digest: bytes
    request_id: str = Field(sa_type=Text)
    user_id: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    leased_until_ns: int = Field(sa_type=BigInteger)
    expires_at_ns: int = Field(sa_type=BigInteger)
    answer: bytes


REPLAYS: Table = ReplayRow.metadata.tables["replays"]
