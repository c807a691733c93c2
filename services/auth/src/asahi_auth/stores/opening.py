"""Opens the store, or says in one line why it cannot be."""

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from asahi_auth.stores.postgresql import open_postgresql
from asahi_auth.stores.schema import SchemaTooNew, migrate
from asahi_auth.stores.sql import SqlStore
from asahi_auth.stores.sqlite import open_sqlite

_SQLITE_READERS = 2
_SQLITE_WRITERS = 1  # SQLite has one at a time
_READERS = 8
_WRITERS = 4


def open_store(data_dir: Path, database_url: str = "") -> SqlStore:
    """The store in `auth.db` of `data_dir`, or in PostgreSQL at `database_url`, brought to the newest schema.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    if database_url:
        try:
            engine = open_postgresql(database_url, connections=_READERS + _WRITERS)
        except ValueError as error:
            raise OSError(str(error)) from error
        _bring_up(engine, "of DATABASE_URL", "see that it runs and that user and password are right")
        return SqlStore(engine, readers=_READERS, writers=_WRITERS)
    path = data_dir / "auth.db"
    try:
        engine = open_sqlite(path, connections=_SQLITE_READERS + _SQLITE_WRITERS)
    except OSError as error:
        message = f"cannot use {path}: {error.strerror}; set ASAHI_DATA_DIR to a folder that can be written"
        raise OSError(message) from error
    _bring_up(engine, str(path), "mend or remove it, or set ASAHI_DATA_DIR")
    return SqlStore(engine, readers=_SQLITE_READERS, writers=_SQLITE_WRITERS)


def _bring_up(engine: Engine, name: str, remedy: str) -> None:
    try:
        migrate(engine)
    except DBAPIError as error:
        engine.dispose()
        raise OSError(f"cannot use the database {name}: {error.orig}; {remedy}") from error
    except SchemaTooNew as error:
        engine.dispose()
        raise OSError(f"cannot use the database {name}: it was made by a newer version of Asahi; run that") from error
