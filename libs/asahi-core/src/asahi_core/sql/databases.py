"""Where a service keeps its truth: PostgreSQL where one is named, else a SQLite file."""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_POSTGRESQL = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Database:
    """A place that engines are opened on."""

    url: URL
    name: str
    """What a person is told; without user and password."""
    remedy: str
    """What a person can do where it cannot be used."""

    @property
    def is_postgresql(self) -> bool:
        """Else it is SQLite."""
        return self.url.get_backend_name() == "postgresql"


def database_at(database_url: str, file: Path) -> Database:
    """PostgreSQL at `database_url`; where that is empty the SQLite file `file`, which is made for its owner alone.

    Raises:
        OSError: there can be no such database; the message says why, and what to do, and never repeats a password.
    """
    return _postgresql(database_url) if database_url else _sqlite(file)


def _postgresql(database_url: str) -> Database:
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise OSError("DATABASE_URL is no URL; it takes postgresql://user:password@host/database") from error
    if url.get_backend_name() not in _POSTGRESQL:
        raise OSError(
            "DATABASE_URL is of no database that can be used; it takes postgresql://user:password@host/database"
        )
    return Database(
        url.set(drivername="postgresql+psycopg"),
        "of DATABASE_URL",
        "see that it runs and that user and password are right",
    )


def _sqlite(file: Path) -> Database:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a new file may be opened: closing one that is in use here would drop SQLite's locks on it, and the next
        # process to read it would take itself for the last and remove the write-ahead log, with all that comes after.
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if not os.access(file, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        message = f"cannot use {file}: {error.strerror}; set ASAHI_DATA_DIR to a folder that can be written"
        raise OSError(message) from error
    url = URL.create("sqlite", database=str(file))
    return Database(url, str(file), "mend or remove it, or set ASAHI_DATA_DIR")
