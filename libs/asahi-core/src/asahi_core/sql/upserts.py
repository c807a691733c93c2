"""Inserting what may be there already: the same words on both databases."""

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_of(connection: Connection, table: Table) -> Any:
    """An insertion that takes `on_conflict_do_update` and `on_conflict_do_nothing`, for the connection's database."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
