"""Price sheets in the ledger's database: every version a row, numbered through all organisations."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, LargeBinary, Table, Text, func, insert, select, text
from sqlmodel import Field, SQLModel

from asahi.billing.v1.prices_pb2 import PriceSheet
from asahi_billing.stores.desk import Desk

_LOCK = text("SELECT pg_advisory_xact_lock(7095870211)")


class PriceSheetRow(SQLModel, table=True):
    """A version of an organisation's prices."""

    __tablename__ = "price_sheets"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    revision: int = Field(unique=True, sa_type=BigInteger)
    """The place of the change among those of all organisations."""
    sheet: bytes = Field(sa_type=LargeBinary)
    """A `PriceSheet`."""


SHEETS: Table = SQLModel.metadata.tables["price_sheets"]
_s = SHEETS.c


class SqlPriceSheets:
    """A `PriceSheetStore`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def newest(self, organization_id: str) -> PriceSheet:
        """The organisation's sheet in its present version."""
        return await self._desk.read(lambda connection: _newest(connection, organization_id))

    async def add(self, sheet: PriceSheet, before: int) -> PriceSheet | None:
        """Keeps a sheet as the version after `before`."""

        def add(connection: Connection) -> PriceSheet | None:
            if connection.dialect.name != "sqlite":  # revisions must become visible in their order
                connection.execute(_LOCK)
            if _newest(connection, sheet.organization_id).version != before:
                return None
            kept = PriceSheet()
            kept.CopyFrom(sheet)
            kept.revision = (connection.execute(select(func.max(_s.revision))).scalar_one() or 0) + 1
            row = {
                "organization_id": kept.organization_id,
                "version": kept.version,
                "revision": kept.revision,
                "sheet": kept.SerializeToString(),
            }
            connection.execute(insert(SHEETS), row)
            return kept

        kept: PriceSheet | None = await self._desk.write(add)
        return kept

    async def changed(self, after_revision: int, limit: int) -> Sequence[PriceSheet]:
        """Newest sheets of organisations that changed after a revision."""
        later = SHEETS.alias()
        superseded = select(later.c.revision).where(
            later.c.organization_id == _s.organization_id, later.c.version > _s.version
        )
        statement = (
            select(_s.sheet)
            .where(_s.revision > after_revision, ~superseded.exists())
            .order_by(_s.revision)
            .limit(limit)
        )

        def read(connection: Connection) -> list[PriceSheet]:
            return [PriceSheet.FromString(row.sheet) for row in connection.execute(statement)]

        return await self._desk.read(read)


def _newest(connection: Connection, organization_id: str) -> PriceSheet:
    statement = select(_s.sheet).where(_s.organization_id == organization_id).order_by(_s.version.desc()).limit(1)
    row: Any = connection.execute(statement).first()
    return PriceSheet(organization_id=organization_id) if row is None else PriceSheet.FromString(row.sheet)
