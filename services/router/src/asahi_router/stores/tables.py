"""The router's table."""

from datetime import datetime

from sqlalchemy import DateTime, MetaData, Table, Text
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
    recorded_at: datetime = Field(sa_type=DateTime(timezone=True))


OUTCOMES: Table = OutcomeRow.metadata.tables["outcomes"]
