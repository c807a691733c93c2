"""Run by alembic: applies the steps on the connection that `upgrade` opened."""

from alembic import context

from asahi_billing.stores.tables import UsageRow

context.configure(connection=context.config.attributes["connection"], target_metadata=UsageRow.metadata)
with context.begin_transaction():
    context.run_migrations()
