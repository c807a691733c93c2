"""Opens the embedded store, or says in one line why it cannot be."""

from pathlib import Path

from sqlalchemy.exc import DBAPIError

from asahi_auth.stores.schema import SchemaTooNew, migrate
from asahi_auth.stores.sql import SqlStore
from asahi_auth.stores.sqlite import open_sqlite

_READERS = 2
_WRITERS = 1  # SQLite has one at a time


def open_store(data_dir: Path) -> SqlStore:
    """The store in `auth.db` of `data_dir`, brought to the newest schema.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    path = data_dir / "auth.db"
    try:
        engine = open_sqlite(path, connections=_READERS + _WRITERS)
    except OSError as error:
        message = f"cannot use {path}: {error.strerror}; set ASAHI_DATA_DIR to a folder that can be written"
        raise OSError(message) from error
    try:
        migrate(engine)
    except DBAPIError as error:
        engine.dispose()
        message = f"cannot use the database {path}: {error.orig}; mend or remove it, or set ASAHI_DATA_DIR"
        raise OSError(message) from error
    except SchemaTooNew as error:
        engine.dispose()
        raise OSError(f"cannot use the database {path}: it was made by a newer version of Asahi; run that") from error
    return SqlStore(engine, readers=_READERS, writers=_WRITERS)
