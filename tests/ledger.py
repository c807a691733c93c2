"""The ledger's file, read as it is: what tests compare with the provider's own count."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def call_records(data: Path, organization_id: str = "") -> list[dict[str, Any]]:
    """The records of provider calls (not of hits), of one organisation or of all, oldest first."""
    with closing(sqlite3.connect(f"file:{data / 'billing.db'}?mode=ro", uri=True, timeout=30)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT * FROM usage_records WHERE attempt > 0 AND (? = '' OR organization_id = ?) ORDER BY id",
            (organization_id, organization_id),
        ).fetchall()
    return [{**row, "orphan": bool(row["orphan"]), "answered": bool(row["answered"])} for row in map(dict, rows)]
