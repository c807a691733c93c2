"""Checkpoints outside the database, and the secret that signs them."""

import asyncio
import contextlib
import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from asahi_auth.domain.audit import AuditEntry, AuditKeys, Head
from asahi_auth.domain.audit_checkpoints import Checkpoint, Checkpointer, is_signed, signed
from asahi_auth.stores.audit import AuditChains
from asahi_auth.stores.audit_key import audit_secret
from asahi_auth.stores.audit_log import SqlAuditLog
from asahi_auth.stores.checkpoints import CheckpointFile
from asahi_auth.stores.opening import SCHEMA
from asahi_auth.stores.transaction import SqlTransaction
from asahi_core.clock import ManualClock
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import migrate
from services.auth.tests.running import GUARD_S

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = AuditKeys(b"a secret of thirty-two characters")
NAME = "audit-checkpoints.jsonl"


def checkpoint(sequence: int, organization_id: str = "org_a") -> Checkpoint:
    return signed(Head(organization_id, sequence, bytes([sequence % 256]) * 32), NOON, KEYS)


def test_checkpoints_come_back_by_organization_in_their_order(tmp_path: Path) -> None:
    book = CheckpointFile(tmp_path / NAME)
    assert book.read("org_a").checkpoints == []
    book.append([checkpoint(1), checkpoint(7, "org_b")])
    book.append([checkpoint(5)])
    again = CheckpointFile(tmp_path / NAME)
    assert again.read("org_a").checkpoints == [checkpoint(1), checkpoint(5)]
    assert again.newest() == {"org_a": checkpoint(5), "org_b": checkpoint(7, "org_b")}
    assert all(is_signed(one, KEYS) for one in again.read("org_a").checkpoints)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("torn", [b'{"organization_id": "org', b"x" * 10_000])
def test_what_a_crash_left_of_a_line_is_taken_away(tmp_path: Path, torn: bytes) -> None:
    book = CheckpointFile(tmp_path / NAME)
    book.append([checkpoint(1)])
    with (tmp_path / NAME).open("ab") as file:
        file.write(torn)
    assert (book.read("org_a").checkpoints, book.read("org_a").unreadable) == ([checkpoint(1)], 0)
    book.append([checkpoint(2)])
    assert (book.read("org_a").checkpoints, book.read("org_a").unreadable) == ([checkpoint(1), checkpoint(2)], 0)


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    book = CheckpointFile(tmp_path / NAME)
    book.append([checkpoint(1)])
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'\n[]\n{"sequence": 1}\n\xff\n')
    assert (book.read("org_a").checkpoints, book.read("org_a").unreadable) == ([checkpoint(1)], 4)


def test_several_who_write_at_once_leave_whole_lines(tmp_path: Path) -> None:
    def write(number: int) -> None:
        CheckpointFile(tmp_path / NAME).append([checkpoint(number), checkpoint(number, "org_b")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(1, 81)))
    kept = CheckpointFile(tmp_path / NAME).read("org_a")
    assert kept.unreadable == 0
    assert sorted(one.sequence for one in kept.checkpoints) == list(range(1, 81))


def test_a_signature_covers_every_field() -> None:
    honest = checkpoint(3)
    assert is_signed(honest, KEYS)
    for forged in (
        replace(honest, organization_id="org_b"),
        replace(honest, sequence=4),
        replace(honest, hmac=bytes(32)),
        replace(honest, written_at=NOON + timedelta(microseconds=1)),
        replace(honest, signature=b""),
    ):
        assert not is_signed(forged, KEYS)
    assert not is_signed(honest, AuditKeys(b"another"))


class Chains:
    """A database with chains, and what writes checkpoints of them."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.chains = AuditChains(KEYS)
        self.log = SqlAuditLog(engine, self.chains, SqlTransaction)
        self.book = CheckpointFile(folder / NAME)

    def checkpointer(self) -> Checkpointer:
        return Checkpointer(self.log, self.book, KEYS, ManualClock(NOON), structlog.get_logger())

    def append(self, *organization_ids: str) -> None:
        entries = [AuditEntry(one, NOON, "operator", "test") for one in organization_ids]
        with self.engine.begin() as connection:
            self.chains.append(connection, entries[0], *entries[1:])

    def sequences(self, organization_id: str) -> list[int]:
        return [one.sequence for one in self.book.read(organization_id).checkpoints]


@pytest.fixture
def chains(tmp_path: Path) -> Iterator[Chains]:
    engine = open_engine(database_at("", tmp_path / "auth.db"), "auth", connections=3)
    migrate(engine, SCHEMA)
    found = Chains(engine, tmp_path)
    with contextlib.closing(found.log):
        yield found
    engine.dispose()


async def test_each_chain_that_grew_gets_a_checkpoint_in_the_file_and_in_the_log(chains: Chains) -> None:
    writer = chains.checkpointer()
    assert await writer.write() == 0
    chains.append("org_a", "org_a", "")
    with capture_logs() as lines:
        assert await writer.write() == 2
    assert await writer.write() == 0
    chains.append("org_a")
    assert await writer.write() == 1
    assert (chains.sequences("org_a"), chains.sequences("")) == ([2, 3], [1])
    kept = [json.loads(line) for line in (chains.book._path).read_text().splitlines()]
    logged = [{name: line[name] for name in kept[0]} for line in lines if line["event"] == "audit_checkpoint"]
    assert logged == kept[:2]


async def test_who_starts_again_goes_on_where_the_file_ends(chains: Chains) -> None:
    chains.append("org_a")
    assert await chains.checkpointer().write() == 1
    assert await chains.checkpointer().write() == 0


async def test_a_chain_shorter_than_its_checkpoint_is_told_and_gets_none(chains: Chains) -> None:
    chains.append("org_a", "org_a", "org_b")
    writer = chains.checkpointer()
    await writer.write()
    with chains.engine.begin() as connection:
        connection.execute(text("UPDATE audit_heads SET sequence = 1 WHERE organization_id = 'org_a'"))
    with capture_logs() as lines:
        assert await writer.write() == 0
    (told,) = lines
    assert (told["event"], told["organization_id"], told["sequence"], told["checkpoint_sequence"]) == (
        "audit_chain_cut",
        "org_a",
        1,
        2,
    )
    assert chains.sequences("org_a") == [2]


async def test_the_last_entries_are_in_a_checkpoint_when_the_service_ends(chains: Chains) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(chains.checkpointer().run(stop))
    chains.append("org_a")
    stop.set()
    async with asyncio.timeout(GUARD_S):
        await running
    assert chains.sequences("org_a") == [1]


async def test_a_file_that_cannot_be_written_is_told_and_tried_again(chains: Chains, tmp_path: Path) -> None:
    chains.append("org_a")
    writer = chains.checkpointer()
    (tmp_path / NAME).mkdir()
    stop = asyncio.Event()
    stop.set()
    with capture_logs() as lines:
        await writer.run(stop)
    assert [line["event"] for line in lines] == ["audit_checkpoint_not_written"]
    (tmp_path / NAME).rmdir()
    assert await writer.write() == 1


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: audit_secret("", folder, shared=False), range(16)))
    assert len(found) == 1
    assert len(found.pop()) == 64
    assert stat.S_IMODE((folder / "audit.key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["audit.key"]


def test_a_configured_secret_is_taken_and_leaves_no_file(tmp_path: Path) -> None:
    assert audit_secret("k" * 32, tmp_path, shared=True) == b"k" * 32
    assert list(tmp_path.iterdir()) == []


def test_the_file_s_content_can_be_configured_elsewhere(tmp_path: Path) -> None:
    made = audit_secret("", tmp_path, shared=False)
    assert audit_secret((tmp_path / "audit.key").read_text().strip(), tmp_path / "other", shared=True) == made


def test_a_secret_that_is_missing_short_or_empty_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^ASAHI_AUDIT_KEY is not set; with DATABASE_URL every replica needs"):
        audit_secret("", tmp_path, shared=True)
    with pytest.raises(OSError, match=r"^ASAHI_AUDIT_KEY has 5 characters; it needs 32"):
        audit_secret("short", tmp_path, shared=False)
    (tmp_path / "audit.key").touch()
    with pytest.raises(OSError, match=r"audit\.key has no key; restore it"):
        audit_secret("", tmp_path, shared=False)
    with pytest.raises(OSError, match=r"^cannot use \S+audit\.key: Not a directory; restore it"):
        audit_secret("", tmp_path / "audit.key", shared=False)
