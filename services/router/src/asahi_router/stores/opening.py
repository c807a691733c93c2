"""Opens the store of outcomes, or says in one line why it cannot be."""

from pathlib import Path

from asahi_core.sql.databases import database_at
from asahi_core.sql.schema import Schema, open_migrated
from asahi_router.stores.outcomes import SqlOutcomeStore

SCHEMA = Schema("router", head="0008", migrations="asahi_router:migrations")


def open_outcomes(data_dir: Path, database_url: str = "", *, migrate_first: bool = True) -> SqlOutcomeStore:
    """The store in `router.db` of `data_dir`, or in PostgreSQL at `database_url`, brought to the newest schema.

    Without `migrate_first` somebody else has done that.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    database = database_at(database_url, data_dir / "router.db")
    return SqlOutcomeStore(open_migrated(database, SCHEMA, connections=1, migrate_first=migrate_first))
