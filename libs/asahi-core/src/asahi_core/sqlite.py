"""What every SQLite database of a service needs from its driver, however it is opened."""

import time
from sqlite3 import Connection, OperationalError

BUSY_TIMEOUT_MS = 5000
"""Milliseconds that a connection waits for another one's lock."""
_PAUSE_S = 0.01


def use_write_ahead_log(connection: Connection) -> None:
    """Makes the database one with a write-ahead log, durable with each commit.

    To turn a new database into one takes its lock without the driver's own waiting, so connections that are opened at
    the same time try again. Raises OperationalError when it stays locked for `BUSY_TIMEOUT_MS`.
    """
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
    connection.execute("PRAGMA synchronous = FULL")
