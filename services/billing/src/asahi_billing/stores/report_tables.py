"""The tables of imported cost reports. Charges belong to an import; an import counts for the days that name it."""

from sqlalchemy import BigInteger, Table, Text
from sqlmodel import Field, SQLModel


class ImportRow(SQLModel, table=True):
    """A report that was imported as a whole."""

    __tablename__ = "report_imports"

    id: str = Field(primary_key=True, sa_type=Text)
    """A digest of its contents and head."""
    organization_id: str = Field(sa_type=Text)
    format: int
    imported_at_ns: int = Field(sa_type=BigInteger)
    rows: int = Field(sa_type=BigInteger)
    first_day: str = Field(sa_type=Text)
    last_day: str = Field(sa_type=Text)


class ReportDayRow(SQLModel, table=True):
    """Which import says what was charged on a day."""

    __tablename__ = "report_days"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    day: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(primary_key=True, sa_type=Text)
    format: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    import_id: str = Field(sa_type=Text)


class ReportedChargeRow(SQLModel, table=True):
    """What an import says was charged."""

    __tablename__ = "reported_charges"

    import_id: str = Field(primary_key=True, sa_type=Text)
    day: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(primary_key=True, sa_type=Text)
    model: str = Field(primary_key=True, sa_type=Text)
    item: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    nanos: int = Field(sa_type=BigInteger)
    tokens: int | None = Field(sa_type=BigInteger)


IMPORTS: Table = SQLModel.metadata.tables["report_imports"]
DAYS: Table = SQLModel.metadata.tables["report_days"]
CHARGES: Table = SQLModel.metadata.tables["reported_charges"]
