"""The cache service's database: an engine, and threads of its own, since a commit waits for the disk."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

from asahi_core.sql.availability import told_as_unavailable
from asahi_core.sql.lane import Lane

T = TypeVar("T")
CONNECTIONS = 4
_STORE = "database of the cache service"


class CacheDatabase:
    """Runs transactions: one at a time on SQLite, which has one writer, a few on PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.dialect = engine.dialect
        self._lane = Lane("database", 1 if self.dialect.name == "sqlite" else CONNECTIONS, store=_STORE)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed.

        Raises:
            ServiceUnavailable: the database did not do it. Overloaded: too much waits for it.
        """

        def run() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        with told_as_unavailable(_STORE):
            return await self._lane.run(run)

    def close(self) -> None:
        """Finishes what is under way and closes the connections."""
        self._lane.close()
        self._engine.dispose()
