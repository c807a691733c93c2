"""Inserting what may be there already: the same words on both databases."""

from typing import Any, Protocol

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite


class Place(Protocol):
    """A connection, or whatever else knows its database."""

    @property
    def dialect(self) -> Dialect:
        """Which database it is."""
        ...


def insert_of(place: Place, table: Table) -> Any:
    """An insertion that takes `on_conflict_do_update` and `on_conflict_do_nothing`, for the database of `place`."""
    return insert_into(table, place.dialect.name)


def insert_into(table: Table, dialect: str) -> Any:
    """As `insert_of`, for a database by the name of its dialect: statements that are kept are kept by it."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
