"""Opens the cache service's database, or says in one line why it cannot be."""

from pathlib import Path

from asahi_cache.stores.database import CONNECTIONS, CacheDatabase
from asahi_core.sql.databases import Database, database_at
from asahi_core.sql.schema import Schema, open_migrated

SCHEMA = Schema("cache", head="0003", migrations="asahi_cache:migrations")


def open_database(data_dir: Path, database_url: str = "", *, migrate_first: bool = True) -> CacheDatabase:
    """The database `cache.db` of `data_dir`, or PostgreSQL at `database_url`, brought to the newest schema.

    Without `migrate_first` somebody else has done that.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    found = locate(data_dir, database_url)
    return CacheDatabase(open_migrated(found, SCHEMA, connections=CONNECTIONS, migrate_first=migrate_first))


def locate(data_dir: Path, database_url: str) -> Database:
    """Where it is; raises OSError as `database_at` does."""
    return database_at(database_url, data_dir / "cache.db")
