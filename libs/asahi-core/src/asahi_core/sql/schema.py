"""Brings a database to the schema that a service's version needs, when the service starts."""

import logging
import os
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from asahi_core.sql.databases import Database
from asahi_core.sql.engines import STATEMENT_S, open_engine

if TYPE_CHECKING:
    from alembic.config import Config


class SchemaTooNew(Exception):
    """The database was brought to a schema that this version does not know."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A service's tables over time."""

    service: str
    head: str
    """The newest migration. Known here so that a database that has it costs no import of alembic."""
    migrations: str
    """Alembic's script location, `package:folder`. Its `env.py` configures `connection` and `version_table` from the
    config's attributes."""

    def version_table(self, dialect: str) -> str:
        """Where the database says which migration it has; on PostgreSQL services may share a database."""
        return f"alembic_version_{self.service}" if dialect == "postgresql" else "alembic_version"


def open_migrated(
    database: Database,
    schema: Schema,
    *,
    connections: int,
    statement_s: float = STATEMENT_S,
    migrate_first: bool = True,
) -> Engine:
    """`engines.open_engine` on a database that is brought to the newest schema first.

    Without `migrate_first` it is left as it is and not looked at: somebody else has brought it up.

    Raises:
        OSError: it cannot be used; one line says why, and what to do.
    """
    engine = open_engine(database, schema.service, connections=connections, statement_s=statement_s)
    if not migrate_first:
        return engine
    try:
        if not _is_at_head(engine, schema):
            _migrate_in_a_child(database, schema)
        migrate(engine, schema)
    except DBAPIError as error:
        engine.dispose()
        reason = " ".join(str(error.orig).split())
        raise OSError(f"cannot use the database {database.name}: {reason}; {database.remedy}") from error
    except SchemaTooNew as error:
        engine.dispose()
        message = f"cannot use the database {database.name}: it was made by a newer version of Asahi; run that"
        raise OSError(message) from error
    return engine


def migrate(engine: Engine, schema: Schema) -> None:
    """Runs the migrations that are missing in one transaction; others who start beside wait and find it done.

    Raises:
        SchemaTooNew: the database belongs to a newer version.
    """
    if _is_at_head(engine, schema):
        return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's write lock is taken already
            for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {limit} = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": crc32(schema.service.encode())})
        if revision(connection, schema) != schema.head:
            _upgrade(connection, schema)


def _is_at_head(engine: Engine, schema: Schema) -> bool:
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        return revision(connection, schema) == schema.head


def _migrate_in_a_child(database: Database, schema: Schema) -> None:
    """Migrates in a process that ends then, so that this one is spared the 10 MB of alembic that it would keep.

    What goes wrong there goes wrong again here, and is told here: nothing else comes of a child that fails. Where
    other threads run, nothing is done: a child might wait for ever for what they had locked.
    """
    if threading.active_count() > 1:
        return
    with warnings.catch_warnings():  # of threads of libraries below Python, which know how to be forked
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    with suppress(BaseException):
        migrate(open_engine(database, schema.service, connections=1), schema)
    os._exit(0)


def revision(connection: Connection, schema: Schema) -> str | None:
    """The migration that the database has; None: none."""
    table = schema.version_table(connection.dialect.name)
    if not inspect(connection).has_table(table):
        return None
    return connection.execute(text(f"SELECT version_num FROM {table}")).scalar()  # noqa: S608 - a name of ours


def knows(connection: Connection, schema: Schema, found: str) -> bool:
    """Whether this version has the migration `found`; if not, a newer version has."""
    config = alembic_config(connection, schema)
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        return ScriptDirectory.from_config(config).get_revision(found) is not None
    except CommandError:
        return False


def alembic_config(connection: Connection, schema: Schema) -> "Config":
    """What alembic's commands take, to run on `connection` and in its transaction."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # else it tells of each of its plugins
    from alembic.config import Config  # noqa: PLC0415 - 0.1 s that only the first start needs

    table = schema.version_table(connection.dialect.name)
    config = Config(attributes={"connection": connection, "version_table": table})
    config.set_main_option("script_location", schema.migrations)
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, schema: Schema) -> None:
    config = alembic_config(connection, schema)
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaTooNew(str(error)) from error
