"""Opens the store, or says in one line why it cannot be."""

from pathlib import Path

from asahi_auth.stores.sql import SqlStore
from asahi_auth.stores.transaction import Append
from asahi_core.sql.databases import database_at
from asahi_core.sql.schema import Schema, open_migrated

SCHEMA = Schema("auth", head="0004", migrations="asahi_auth:migrations")
_SQLITE_READERS = 2
_SQLITE_WRITERS = 1  # SQLite has one at a time
_READERS = 8
_WRITERS = 4


def open_store(
    data_dir: Path, database_url: str = "", append: Append | None = None, *, migrate_first: bool = True
) -> SqlStore:
    """The store in `auth.db` of `data_dir`, or in PostgreSQL at `database_url`, brought to the newest schema.

    Without `migrate_first` somebody else has done that.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    database = database_at(database_url, data_dir / "auth.db")
    readers, writers = (_READERS, _WRITERS) if database.is_postgresql else (_SQLITE_READERS, _SQLITE_WRITERS)
    engine = open_migrated(database, SCHEMA, connections=readers + writers, migrate_first=migrate_first)
    return SqlStore(engine, readers=readers, writers=writers, append=append)
