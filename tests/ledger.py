"""The ledger's database, read as it is: what tests compare with the provider's own count."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row


def call_records(data: Path, organization_id: str = "", database: str = "") -> list[dict[str, Any]]:
    """The records of provider calls (not of hits), of one organisation or of all, oldest first.

    `database`: the URL of the PostgreSQL that billing keeps them in; empty: they are in its file under `data`.
    """
    query = "SELECT * FROM usage_records WHERE attempt > 0 AND {0} IN ('', organization_id) ORDER BY id"
    if database:
        with psycopg.connect(database, row_factory=dict_row) as connection:
            return connection.execute(query.format("%s"), (organization_id,)).fetchall()
    with closing(sqlite3.connect(f"file:{data / 'billing.db'}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(query.format("?"), (organization_id,)).fetchall()
    return [{**row, "orphan": bool(row["orphan"]), "answered": bool(row["answered"])} for row in map(dict, rows)]
