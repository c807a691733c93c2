"""The router's tables."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, MetaData, Table, Text
from sqlmodel import Field, SQLModel


class RouterTable(SQLModel):
    """Tables of the router's own, whatever others are loaded."""

    metadata = MetaData()


class OutcomeRow(RouterTable, table=True):
    """An outcome; columns are the fields of `domain.outcomes.Outcome`."""

    __tablename__ = "outcomes"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    source: str = Field(primary_key=True, sa_type=Text)
    model: str = Field(sa_type=Text)
    task_type: str = Field(sa_type=Text)
    score: float | None
    correct_cache_hit: bool | None
    comment: str = Field(sa_type=Text)
    recorded_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
    user_id: str = Field(sa_type=Text)


OUTCOMES: Table = OutcomeRow.metadata.tables["outcomes"]


class ExampleRow(RouterTable, table=True):
    """An answered question; columns are the fields of `domain.experience.Example`."""

    __tablename__ = "examples"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    model: str = Field(sa_type=Text)
    form: bytes
    """Little-endian float32."""
    embedding: bytes
    asked_bytes: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    answered_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
    user_id: str = Field(sa_type=Text)
    signal: str = Field(sa_type=Text)
    baseline: str = Field(sa_type=Text)
    """Empty: nothing was left to routing; `propensity` and `least` say nothing then."""
    propensity: float
    least: float
    among: str = Field(sa_type=Text)
    """The only model that `least` is of; empty: of any."""
    shared: bool
    given_model: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})
    """Empty: the answer was compared with no other; the three that follow say nothing then."""
    given_tokens: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    difference: float = Field(sa_column_kwargs={"server_default": "0"})
    judge: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})


EXAMPLES: Table = ExampleRow.metadata.tables["examples"]


class ErasureRow(RouterTable, table=True):
    """When an organisation, or an end user of it, was erased last: it does not say who."""

    __tablename__ = "erasures"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    erased_at: datetime = Field(sa_type=DateTime(timezone=True))


ERASURES: Table = ErasureRow.metadata.tables["erasures"]


def storable(text: str) -> str:
    """As PostgreSQL takes it: without NUL."""
    return text.replace("\0", "\ufffd")
