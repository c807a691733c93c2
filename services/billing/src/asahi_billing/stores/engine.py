"""Database engines: how connections that write and connections that read are set up."""

from collections.abc import Callable
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from asahi_core.sqlite import BUSY_TIMEOUT_MS, use_write_ahead_log

_READ_CACHE_KIB = 16_384
_STEPS_BETWEEN_LOOKS = 100_000


def open_writer(url: URL) -> Engine:
    """An engine whose transactions are durable once committed, and exclude other writers from their beginning on."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=1, max_overflow=1)
    return _open_sqlite(url, use_write_ahead_log, begin="BEGIN IMMEDIATE", connections=1)


def open_reader(url: URL, connections: int) -> Engine:
    """An engine whose transactions see one state of the database and never wait for the writer."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=connections, max_overflow=0, isolation_level="REPEATABLE READ")
    return _open_sqlite(url, _only_read, begin="BEGIN", connections=connections)


def limit_statements(connection: Connection, expired: Callable[[], bool]) -> None:
    """Lets statements of a SQLite connection fail as soon as `expired` says so (asked every few milliseconds)."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(expired, _STEPS_BETWEEN_LOOKS)


def _only_read(driver: SqliteConnection) -> None:
    for pragma in ("query_only=ON", f"busy_timeout={BUSY_TIMEOUT_MS}", f"cache_size=-{_READ_CACHE_KIB}"):
        driver.execute(f"PRAGMA {pragma}").close()


def _open_sqlite(url: URL, prepare: Callable[[SqliteConnection], None], *, begin: str, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _set_up(driver: SqliteConnection, _record: object) -> None:
        driver.isolation_level = None  # the driver would begin transactions late, and none for reading
        prepare(driver)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
