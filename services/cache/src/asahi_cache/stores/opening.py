"""Opens the cache service's database, or says in one line why it cannot be."""

from pathlib import Path

from asahi_cache.stores.database import CONNECTIONS, CacheDatabase
from asahi_core.sql.databases import database_at
from asahi_core.sql.schema import Schema, open_migrated

SCHEMA = Schema("cache", head="0002", migrations="asahi_cache:migrations")


def open_database(data_dir: Path, database_url: str = "") -> CacheDatabase:
    """The database `cache.db` of `data_dir`, or PostgreSQL at `database_url`, brought to the newest schema.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    database = database_at(database_url, data_dir / "cache.db")
    return CacheDatabase(open_migrated(database, SCHEMA, connections=CONNECTIONS))
