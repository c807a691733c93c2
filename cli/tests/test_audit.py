"""`asahi audit`, against a real installation: five services and the simulator."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from cli.tests.installation import REAL, Installation
from cli.tests.test_tools import asahi


@pytest.fixture
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("real"), command=REAL, ASAHI_SIMULATOR_SPEED="0") as running:
        yield running.wait_ready()
        running.send(signal.SIGINT)
        assert running.wait_end() == 0


def test_who_did_what_is_listed_and_what_was_tampered_with_is_named(installation: Installation) -> None:
    folder = installation.data_dir
    made = asahi("keys", "create", "ci", data_dir=folder)
    key_id = made.err.split()[1]
    assert asahi("keys", "revoke", key_id, data_dir=folder).code == 0

    listed = asahi("audit", "list", data_dir=folder)
    assert listed.code == 0
    newest, created = listed.out.splitlines()[1:3]
    assert key_id in newest
    assert "api_key.revoke" in newest
    assert "api_key.create" in created
    (one,) = json.loads(asahi("audit", "list", "--limit", "1", "--json", data_dir=folder).out)["data"]
    assert (one["action"], one["target"], one["outcome"]) == ("api_key.revoke", key_id, "done")

    sound = asahi("audit", "verify", data_dir=folder)
    assert sound.code == 0, sound.out + sound.err
    assert f"{one['sequence']} entries recomputed" in sound.out
    assert "a loss of" in sound.out
    assert json.loads(asahi("audit", "verify", "--json", data_dir=folder).out)["intact"] is True

    (file,) = folder.rglob("auth.db")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE audit_records SET actor = 'key_nobody00' WHERE sequence = ?", (one["sequence"],))
    found = asahi("audit", "verify", data_dir=folder)
    assert found.code == 1
    assert "changed" in found.out
    assert f"Entry {one['sequence']} is not as it was written: its HMAC does not fit." in found.out
    assert found.err == "asahi: the audit chain is not as it was written; faults: 1\n"
    told = asahi("audit", "verify", "--json", data_dir=folder)
    assert told.code == 1
    assert [fault["kind"] for fault in json.loads(told.out)["faults"]] == ["changed"]
