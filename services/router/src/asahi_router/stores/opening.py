"""Opens the embedded store, or says in one line why it cannot be."""

import os
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from asahi_core.sqlite import use_write_ahead_log
from asahi_router.stores.outcomes import SqlOutcomeStore
from asahi_router.stores.schema import SchemaTooNew, migrate


def open_outcomes(data_dir: Path) -> SqlOutcomeStore:
    """The store in `router.db` of `data_dir`, brought to the newest schema.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    path = data_dir / "router.db"
    try:
        engine = _open(path)
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
    return SqlOutcomeStore(engine)


def _open(path: Path) -> Engine:
    """An engine on the file at `path`, which is made if absent, readable by its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # Parameters stay out of errors: comments are people's own words.
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=1, max_overflow=0, hide_parameters=True)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: SqliteConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions late
    use_write_ahead_log(connection)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
