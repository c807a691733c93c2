"""What `python -m asahi_<service>.migrate` does: brings a database to a version's schema, or waits until it is there.

Where one process migrates and others start beside (a Job and pods), services run with ASAHI_MIGRATE_AT_START=false.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from asahi_core.sql.databases import Database
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import Schema, SchemaTooNew, knows, migrate, revision

_LOOK_AGAIN_S = 1.0
_TELL_AGAIN_S = 15.0


class MigrationFailed(Exception):
    """The database is not at this version's schema; the message says why."""


def migration_options(service: str, arguments: list[str]) -> argparse.Namespace:
    """`wait` (only wait) and `seconds` (how long to wait for the database) from the command line.

    From then on SIGTERM ends the process, which it would not if the process is a container's first.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(prog=f"python -m asahi_{service}.migrate", description=__doc__)
    parser.add_argument("--wait", action="store_true", help="migrate nothing; end when somebody else has")
    parser.add_argument("--seconds", type=float, default=300.0, help="longest wait for the database (%(default)s)")
    return parser.parse_args(arguments)


def bring_up(
    database: Database, schema: Schema, *, only_wait: bool, within_s: float, tell: Callable[[str], None]
) -> None:
    """Migrates, or with `only_wait` waits until it is done. A database that does not answer yet is waited for.

    A schema newer than this version's is left alone: newer versions only add to what this one uses until nobody runs
    it any more, so that it may run beside them and take their place again.

    Raises:
        MigrationFailed: a migration failed, or `within_s` are over.
    """
    engine = open_engine(database, schema.service, connections=1)
    deadline, told_at, told = time.monotonic() + within_s, 0.0, ""
    try:
        while (reason := _once(engine, database, schema, only_wait=only_wait, tell=tell)) is not None:
            now = time.monotonic()
            if now >= deadline:
                raise MigrationFailed(f"gave up after {within_s:g} s: {reason}")
            if reason != told or now - told_at >= _TELL_AGAIN_S:
                tell(f"waiting: {reason}")
                told, told_at = reason, now
            time.sleep(_LOOK_AGAIN_S)
    finally:
        engine.dispose()


def _once(
    engine: Engine, database: Database, schema: Schema, *, only_wait: bool, tell: Callable[[str], None]
) -> str | None:
    """What there is to wait for; None: nothing any more."""
    try:
        with engine.connect() as connection:
            found = revision(connection, schema)
            newer = found is not None and found != schema.head and not knows(connection, schema, found)
    except DBAPIError as error:
        return f"the database {database.name} does not answer ({_reason(error)}); {database.remedy}"
    if found == schema.head:
        tell(f"the schema is at {found}")
        return None
    if newer:
        tell(f"the schema is at {found}, newer than {schema.head}, which this version was made for; left as it is")
        return None
    if only_wait:
        return f"the schema is at {found or 'nothing'}, and this version needs {schema.head}; the migration runs apart"
    tell(f"migrating from {found or 'nothing'} to {schema.head}")
    try:
        migrate(engine, schema)
    except DBAPIError as error:
        raise MigrationFailed(
            f"the migration to {schema.head} failed, nothing was changed: {_reason(error)}"
        ) from error
    except SchemaTooNew:
        pass  # a newer version was faster
    return _once(engine, database, schema, only_wait=only_wait, tell=tell)


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
