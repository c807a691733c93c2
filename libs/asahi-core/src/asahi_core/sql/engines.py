"""Engines: how connections are set up, bounded and tried before they are used.

Parameters stay out of errors everywhere: they hold hashes of keys, addresses of people, and people's own words.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from asahi_core.sql.databases import Database

STATEMENT_S = 5.0
"""How long a statement may take, or wait for a lock, where nothing else is said."""
_CONNECT_S = 3
_POOL_WAIT_S = 2.0
_GONE_S = 10
"""After this time without an answer from its network a connection is lost."""
_READ_CACHE_KIB = 16_384
_STEPS_BETWEEN_LOOKS = 100_000
_LOCKED_PAUSE_S = 0.01


def open_engine(database: Database, service: str, *, connections: int, statement_s: float = STATEMENT_S) -> Engine:
    """An engine for changes and look-ups, of at most `connections` connections.

    A transaction is durable once it is committed. On SQLite it excludes other writers from its beginning on (a reader
    that turns into a writer could fail at once), unless the connection is at isolation level AUTOCOMMIT.
    """
    if database.is_postgresql:
        return _on_postgresql(database, service, connections, statement_s, {})
    pragmas = ("synchronous = FULL", "foreign_keys = ON")
    return _on_sqlite(database, connections, statement_s, pragmas, begin="BEGIN IMMEDIATE", writes=True)


def open_reader(database: Database, service: str, *, connections: int, statement_s: float = STATEMENT_S) -> Engine:
    """An engine whose transactions see one state of the database, change nothing, and never wait for a change.

    On SQLite nothing ends a statement after `statement_s`: see `limit_statements`.
    """
    if database.is_postgresql:
        return _on_postgresql(
            database,
            service,
            connections,
            statement_s,
            {"default_transaction_read_only": "on", "default_transaction_isolation": "repeatable\\ read"},
        )
    pragmas = ("query_only = ON", f"cache_size = -{_READ_CACHE_KIB}")
    return _on_sqlite(database, connections, statement_s, pragmas, begin="BEGIN", writes=False)


def limit_statements(connection: Connection, expired: Callable[[], bool]) -> None:
    """Lets statements of a SQLite connection fail as soon as `expired` says so (asked every few milliseconds)."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(expired, _STEPS_BETWEEN_LOOKS)


def _on_postgresql(
    database: Database, service: str, connections: int, statement_s: float, more: dict[str, str]
) -> Engine:
    limit_ms = str(round(statement_s * 1000))
    settings = {
        "statement_timeout": limit_ms,
        "lock_timeout": limit_ms,
        # A process that hangs in a transaction must not keep its locks.
        "idle_in_transaction_session_timeout": str(round(statement_s * 2000)),
        **more,
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return create_engine(
        database.url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_S,
            "application_name": f"asahi-{service}",
            "options": f"{_own_options(database)} {options}".strip(),
            "keepalives_idle": _GONE_S,
            "tcp_user_timeout": _GONE_S * 1000,
        },
    )


def _own_options(database: Database) -> str:
    options = database.url.query.get("options", "")
    return options if isinstance(options, str) else " ".join(options)


def _on_sqlite(
    database: Database, connections: int, wait_s: float, pragmas: tuple[str, ...], *, begin: str, writes: bool
) -> Engine:
    engine = create_engine(database.url, pool_size=connections, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _set_up(driver: sqlite3.Connection, _record: object) -> None:
        driver.isolation_level = None  # the driver would begin transactions late, and none for reading
        if writes:
            _use_write_ahead_log(driver, wait_s)
        for pragma in (f"busy_timeout = {round(wait_s * 1000)}", *pragmas):
            driver.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(begin)

    return engine


def _use_write_ahead_log(driver: sqlite3.Connection, wait_s: float) -> None:
    """Makes the file one with a write-ahead log: that takes its lock without SQLite's own waiting."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            driver.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOCKED_PAUSE_S)
        else:
            return
