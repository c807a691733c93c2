"""Run by alembic: applies the steps on the connection that `upgrade` opened."""

from alembic import context

from asahi_billing.stores.spending_tables import EntryRow

context.configure(connection=context.config.attributes["connection"], target_metadata=EntryRow.metadata)
with context.begin_transaction():
    context.run_migrations()
