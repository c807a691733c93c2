"""Database engines: how connections that write and connections that read are set up."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

_BUSY_MS = 5_000
_CONNECT_S = 3
_READ_CACHE_KIB = 16_384
_STEPS_BETWEEN_LOOKS = 100_000


def database_url(url: str) -> URL:
    """What `DATABASE_URL` says, with the driver that is installed.

    Raises:
        ValueError: it is no URL of PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError("DATABASE_URL is no URL; it takes postgresql://user:password@host/database") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("DATABASE_URL is of no database that can be used; it takes postgresql://…")
    return parsed.set(drivername="postgresql+psycopg")


def open_writer(url: URL) -> Engine:
    """An engine whose transactions are durable once committed, and exclude other writers from their beginning on."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=1, max_overflow=0, connect_args={"connect_timeout": _CONNECT_S})
    pragmas = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}")
    return _open_sqlite(url, pragmas, begin="BEGIN IMMEDIATE", connections=1)


def open_reader(url: URL, connections: int, limit_s: float) -> Engine:
    """An engine whose transactions see one state of the database and never wait for the writer.

    PostgreSQL ends their statements after `limit_s`; for SQLite see `limit_statements`.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
            connect_args={
                "connect_timeout": _CONNECT_S,
                "options": f"-c statement_timeout={round(limit_s * 1000)} -c default_transaction_read_only=on",
            },
        )
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
