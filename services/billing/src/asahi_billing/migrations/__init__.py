"""The database's schema over time: one module a step in `versions/`, applied in order at start."""

import logging
from importlib.resources import files

from sqlalchemy import Engine, inspect, text

HEAD = "0002"
"""The newest step; a database that is there needs nothing, and alembic is not even imported."""


class UnknownSchema(Exception):
    """The database's schema is of a newer version than this one."""


def upgrade(engine: Engine) -> None:
    """Brings the database to `HEAD`, all steps in one transaction; of several processes, one does and others wait.

    Raises:
        UnknownSchema: a newer version of the service has written the database.
    """
    with engine.begin() as connection:
        current = None
        if inspect(connection).has_table("alembic_version"):
            current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if current == HEAD:
            return
        from alembic import command  # noqa: PLC0415 - 0.2 s that a start without a migration saves
        from alembic.config import Config  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its own plugins
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(files("asahi_billing.migrations")))
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise UnknownSchema(f"its schema {current!r} is unknown to this version, which knows {HEAD!r}") from error
