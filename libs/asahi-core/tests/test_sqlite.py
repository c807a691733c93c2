"""Databases that several connections open at once."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

from asahi_core.sqlite import use_write_ahead_log

_OPENERS = 4
_DATABASES = 100
"""Without another try about every tenth has an opener that fails."""


def test_who_opens_a_new_database_at_the_same_time_is_never_refused(tmp_path: Path) -> None:
    barrier = Barrier(_OPENERS)

    def open_one(path: Path) -> tuple[str, int]:
        with closing(sqlite3.connect(path)) as connection:
            barrier.wait()
            use_write_ahead_log(connection)
            connection.execute("CREATE TABLE IF NOT EXISTS kept (it)")
            mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
            synchronous: int = connection.execute("PRAGMA synchronous").fetchone()[0]
            return mode, synchronous

    with ThreadPoolExecutor(_OPENERS) as openers:
        for number in range(_DATABASES):
            path = tmp_path / f"{number}.db"
            assert set(openers.map(open_one, [path] * _OPENERS)) == {("wal", 2)}
