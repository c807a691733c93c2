"""Copies an embedded installation's database into PostgreSQL, as a whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, text

from asahi_auth.stores.audit_tables import AUDIT_RECORDS
from asahi_auth.stores.opening import SCHEMA
from asahi_auth.stores.tables import REVOCATION_HEAD
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import open_migrated, revision

_BATCH = 1000
_TABLES = AUDIT_RECORDS.metadata.sorted_tables
"""Those that are referred to before those that refer to them."""


def copy_database(file: Path, database_url: str) -> Mapping[str, int]:
    """Copies all rows of the SQLite file to PostgreSQL at `database_url`; how many were copied, by table.

    The file is only read, and nobody writes to it meanwhile. The copy is committed when its rows were counted again.

    Raises:
        OSError: one of the two cannot be used, the target is not empty, or a count differs; nothing was copied.
    """
    if not file.is_file():
        raise OSError(f"there is no {file} to copy; set ASAHI_DATA_DIR to its folder")
    target_database = database_at(database_url, file)
    if not target_database.is_postgresql:
        raise OSError("there is no database to copy to; set DATABASE_URL to postgresql://user:password@host/database")
    source = open_engine(database_at("", file), SCHEMA.service, connections=1)
    try:
        target = open_migrated(target_database, SCHEMA, connections=1)
        try:
            return _copy(source, target)
        finally:
            target.dispose()
    finally:
        source.dispose()


def _copy(source: Engine, target: Engine) -> Mapping[str, int]:
    with source.begin() as reading, target.begin() as writing:
        found = revision(reading, SCHEMA)
        if found != SCHEMA.head:
            raise OSError(f"the file has the schema {found}, not {SCHEMA.head}; start this version on it once")
        names = ", ".join(table.name for table in _TABLES)
        writing.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
        _check_empty(writing)
        writing.execute(delete(REVOCATION_HEAD))
        for table in _TABLES:
            _copy_rows(reading, writing, table)
        counted = {table.name: _count(reading, table) for table in _TABLES}
        arrived = {table.name: _count(writing, table) for table in _TABLES}
        if counted != arrived:
            raise OSError(f"the copy has {arrived} rows, the file {counted}; nothing was copied")
        return counted


def _check_empty(connection: Connection) -> None:
    """The head of the revocations is made with its table; it says that there was none."""
    filled = [table.name for table in _TABLES if table is not REVOCATION_HEAD and _count(connection, table)]
    if filled or connection.execute(select(REVOCATION_HEAD.c.sequence)).scalar():
        raise OSError(f"the database of DATABASE_URL is not empty ({', '.join(filled) or REVOCATION_HEAD.name})")


def _copy_rows(reading: Connection, writing: Connection, table: Table) -> None:
    rows = reading.execute(select(table).order_by(*table.primary_key)).mappings()
    for batch in rows.partitions(_BATCH):
        writing.execute(insert(table), [dict(row) for row in batch])


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
