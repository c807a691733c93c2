"""Brings a database to the schema that this version needs, when the service starts."""

import logging

from sqlalchemy import Connection, Engine, inspect, text

HEAD = "0002"
"""The newest migration. Known here so that a database that has it costs no import of alembic."""
_LOCK_ID = 0x41736168
"""Names the advisory lock that replicas take on PostgreSQL."""


class SchemaTooNew(Exception):
    """The database was brought to a schema that this version does not know."""


def migrate(engine: Engine) -> None:
    """Runs the migrations that are missing; others who start at the same time wait and find it done.

    Raises:
        SchemaTooNew: the database belongs to a newer version.
    """
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        if _revision(connection) == HEAD:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's write lock is taken already
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
        if _revision(connection) != HEAD:
            _upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # else it tells of each of its plugins
    from alembic import command  # noqa: PLC0415 - 0.1 s that only the first start needs
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "asahi_auth:migrations")
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaTooNew(str(error)) from error
