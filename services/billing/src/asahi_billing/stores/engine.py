"""Database engines: how connections that write and connections that read are set up."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

_BUSY_MS = 5_000
_READ_CACHE_KIB = 16_384
_STEPS_BETWEEN_LOOKS = 100_000


def open_writer(url: URL) -> Engine:
    """An engine whose transactions are durable once committed, and exclude other writers from their beginning on."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=1, max_overflow=1)
    pragmas = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}")
    return _open_sqlite(url, pragmas, begin="BEGIN IMMEDIATE", connections=1)


def open_reader(url: URL, connections: int) -> Engine:
    """An engine whose transactions see one state of the database and never wait for the writer."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=connections, max_overflow=0, isolation_level="REPEATABLE READ")
    pragmas = ("query_only=ON", f"busy_timeout={_BUSY_MS}", f"cache_size=-{_READ_CACHE_KIB}")
    return _open_sqlite(url, pragmas, begin="BEGIN", connections=connections)


def limit_statements(connection: Connection, expired: Callable[[], bool]) -> None:
    """Lets statements of a SQLite connection fail as soon as `expired` says so (asked every few milliseconds)."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(expired, _STEPS_BETWEEN_LOOKS)


def _open_sqlite(url: URL, pragmas: tuple[str, ...], *, begin: str, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _set_up(driver: Any, _record: object) -> None:
        driver.isolation_level = None  # the driver would begin transactions late, and none for reading
        for pragma in pragmas:
            driver.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
