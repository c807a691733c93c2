"""The database's schema over time: one module a step in `versions/`."""
