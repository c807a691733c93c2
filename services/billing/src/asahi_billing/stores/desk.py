"""A second way to the ledger's database, for what is no record: reports, prices, alerts.

One connection writes, in short transactions that let the ledger's own go first; two read, so that a long question
holds up neither the ledger's nor all of these.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from structlog.typing import FilteringBoundLogger

from asahi_core.clock import Clock
from asahi_core.errors import DeadlineExceeded, Overloaded, ServiceUnavailable
from asahi_core.sql.databases import Database
from asahi_core.sql.engines import limit_statements, open_engine, open_reader

Result = TypeVar("Result")
_MOST_WAITING = 100
_READERS = 2
_RETRY_AFTER_S = 1.0


class Desk:
    """Reads and writes on threads. Raises ServiceUnavailable when the database cannot be reached."""

    def __init__(self, database: Database, clock: Clock, log: FilteringBoundLogger, *, read_limit_s: float) -> None:
        self._clock = clock
        self._log = log
        self._read_limit_s = read_limit_s
        self._writer = open_engine(database, "billing-desk", connections=1)
        self._reader = open_reader(database, "billing-desk", connections=_READERS, statement_s=read_limit_s)
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="desk-writer")
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="desk-reader")
        self._waiting = 0

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        """What `query` finds, in one state of the database.

        Raises:
            DeadlineExceeded: it takes too long.
            Overloaded: too many wait already.
        """
        deadline = self._clock.monotonic() + self._read_limit_s
        return await self._run(self._reading, lambda: self._query(query, deadline))

    async def write(self, change: Callable[[Connection], Any]) -> Any:
        """What `change` answers, once it is durable.

        Raises:
            Overloaded: too many wait already.
        """
        return await self._run(self._writing, lambda: self._change(change))

    async def close(self) -> None:
        """Ends what runs, and closes the database."""
        for pool in (self._writing, self._reading):
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
        for engine in (self._writer, self._reader):
            engine.dispose()

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        if self._waiting >= _MOST_WAITING:
            message = f"{self._waiting} questions wait already; try again shortly."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        finally:
            self._waiting -= 1

    def _query(self, query: Callable[[Connection], Result], deadline: float) -> Result:
        try:
            with self._reader.begin() as connection:
                limit_statements(connection, lambda: self._clock.monotonic() > deadline)
                return query(connection)
        except OperationalError as error:
            if self._clock.monotonic() > deadline:
                message = f"The ledger took more than {self._read_limit_s:g} s; ask for a shorter time."
                raise DeadlineExceeded(message) from error
            raise self._unreachable(error) from error

    def _change(self, change: Callable[[Connection], Any]) -> Any:
        try:
            return _committed(self._writer, change)
        except (OperationalError, InterfaceError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: OperationalError | InterfaceError) -> ServiceUnavailable:
        self._log.error("desk_not_usable", error=str(error.orig))
        message = "The ledger's database cannot be used at the moment; try again shortly."
        return ServiceUnavailable(message, retry_after_s=_RETRY_AFTER_S)


def _committed(engine: Engine, change: Callable[[Connection], Any]) -> Any:
    with engine.begin() as connection:
        return change(connection)
