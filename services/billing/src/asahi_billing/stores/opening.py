"""Opens the ledger's database, or says in one line why it cannot be."""

from dataclasses import dataclass

from sqlalchemy import Engine

from asahi_core.sql.databases import Database
from asahi_core.sql.engines import open_reader
from asahi_core.sql.schema import Schema, open_migrated

SCHEMA = Schema("billing", head="0006", migrations="asahi_billing:migrations")
READERS = 2


@dataclass(frozen=True, slots=True)
class Engines:
    """One connection that writes, a few that read."""

    writer: Engine
    reader: Engine

    def dispose(self) -> None:
        """Closes all connections."""
        self.reader.dispose()
        self.writer.dispose()


def open_engines(database: Database, read_limit_s: float, *, migrate_first: bool = True) -> Engines:
    """Engines on the database, which is brought to the newest schema first. Questions take at most `read_limit_s`.

    Without `migrate_first` somebody else has brought it up.

    Raises:
        OSError: it cannot be used; the message says why, and what to do.
    """
    writer = open_migrated(database, SCHEMA, connections=1, migrate_first=migrate_first)
    return Engines(writer, open_reader(database, SCHEMA.service, connections=READERS, statement_s=read_limit_s))
