"""Who looks into a file of a running service, as a backup does, takes nothing from what is written afterwards."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from tests.installation import SERVICES, running_installation
from tests.ledger import call_records


def test_what_is_written_after_somebody_has_looked_is_there_after_a_restart(tmp_path: Path) -> None:
    with running_installation(tmp_path) as installation:
        organization = installation.signup()
        for turn in ("before", "after"):
            with organization.client() as client:
                client.post("/infer", json={"prompt": f"What is {turn}?"}).raise_for_status()
                client.get("/analytics/cost-summary").raise_for_status()  # waits until billing has the record
            for service in SERVICES:
                with closing(sqlite3.connect(installation.data / f"{service}.db")) as connection:
                    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
                assert _removed_files(installation[service].pid) == []
        installation["billing"].stop()
        installation["billing"].start()
        installation["billing"].wait_ready()
        assert len(call_records(installation.data, organization.id)) == 2


def _removed_files(pid: int) -> list[str]:
    """What the process has open that others can't open any more."""
    files, folder = [], Path(f"/proc/{pid}/fd")
    for one in folder.iterdir() if folder.exists() else ():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            files.append(os.readlink(one))
    return [file for file in files if ".db" in file and file.endswith("(deleted)")]
