"""The history of the database's schema, run by alembic when the service starts."""
