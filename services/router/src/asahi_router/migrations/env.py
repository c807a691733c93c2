"""Alembic's entry: runs migrations on the connection, and in the transaction, that the service gives."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
