"""SQLite as the auth service uses it: one file, durable, readers beside one writer."""

import os
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import URL, Connection, Engine, create_engine, event

from asahi_core.sqlite import use_write_ahead_log


def open_sqlite(path: Path, connections: int) -> Engine:
    """An engine on the database file at `path`, which is made if absent, readable by its owner alone.

    Raises:
        OSError: the file cannot be made or opened.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    url = URL.create("sqlite", database=str(path))
    # Parameters stay out of errors: they hold addresses of people and hashes of keys.
    engine = create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: SqliteConnection, _record: object) -> None:
    use_write_ahead_log(connection)
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    """Takes the write lock at the start of a change: a reader that turns into a writer can fail at once."""
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
