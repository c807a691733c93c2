"""The audit chains in a real database: gapless whoever writes, found out whatever is done to the rows."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from asahi_auth.domain.audit import AuditEntry, AuditKeys, AuditRecord, Head
from asahi_auth.domain.audit_checkpoints import Checkpointer
from asahi_auth.domain.audit_trail import AuditTrail
from asahi_auth.domain.organizations import Organization
from asahi_auth.stores.audit import AuditChains
from asahi_auth.stores.audit_log import SqlAuditLog
from asahi_auth.stores.checkpoints import CheckpointFile
from asahi_auth.stores.opening import SCHEMA
from asahi_auth.stores.transaction import SqlTransaction
from asahi_core.clock import ManualClock
from asahi_core.errors import ServiceUnavailable
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine as core_open_engine
from asahi_core.sql.schema import migrate
from services.auth.tests.running import GUARD_S, quiet_log
from tests.postgresql import postgresql

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = AuditKeys(b"a secret of thirty-two characters")
CONNECTIONS = 8


def entry(organization_id: str, number: int = 0, user_id: str = "") -> AuditEntry:
    return AuditEntry(
        organization_id,
        NOON + timedelta(microseconds=number),
        "operator",
        "policy.update",
        details={"number": number, "name": "räksmörgås\0"},
        user_id=user_id,
    )


@dataclass(frozen=True)
class Installation:
    """A database with its chains and their checkpoints."""

    engine: Engine
    chains: AuditChains
    log: SqlAuditLog
    trail: AuditTrail
    checkpointer: Checkpointer

    def found(self, *organization_ids: str) -> None:
        with self.engine.begin() as connection:
            for organization_id in organization_ids:
                SqlTransaction(connection).add_organization(Organization(organization_id, "A", "", "", NOON))

    def append(self, first: AuditEntry, *entries: AuditEntry) -> Sequence[AuditRecord]:
        with self.engine.begin() as connection:
            return self.chains.append(connection, first, *entries)

    def grow(self, organization_id: str, count: int) -> None:
        for number in range(count):
            self.append(entry(organization_id, number))

    def do(self, statement: str, **values: object) -> None:
        """What somebody does who can write to the database, and has no other secret."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    async def records(self, organization_id: str) -> list[AuditRecord]:
        return list(await self.log.before(organization_id, None, 10_000))[::-1]

    async def faults(self, organization_id: str) -> list[tuple[int, str]]:
        return [(fault.sequence, fault.kind.value) for fault in (await self.trail.verify(organization_id)).faults]


def open_engine(tmp_path: Path, database: str) -> Engine:
    return core_open_engine(database_at(database, tmp_path / "auth.db"), "auth", connections=CONNECTIONS)


@contextlib.contextmanager
def installed(tmp_path: Path, database: str) -> Iterator[Installation]:
    engine = open_engine(tmp_path, database)
    migrate(engine, SCHEMA)
    chains = AuditChains(KEYS)
    log = SqlAuditLog(engine, chains, SqlTransaction)
    book = CheckpointFile(tmp_path / "audit-checkpoints.jsonl")
    clock = ManualClock()
    with contextlib.closing(log):
        yield Installation(
            engine, chains, log, AuditTrail(log, book, KEYS, clock), Checkpointer(log, book, KEYS, clock, quiet_log())
        )
    engine.dispose()


@pytest.fixture
def installation(tmp_path: Path, database: str) -> Iterator[Installation]:
    with installed(tmp_path, database) as found:
        found.found("org_a", "org_b")
        yield found


async def test_entries_come_back_as_they_were_written(installation: Installation) -> None:
    written = installation.append(entry("org_a", 1), entry("", 2), entry("org_a", 3))
    assert [(record.organization_id, record.sequence) for record in written] == [("org_a", 1), ("org_a", 2), ("", 1)]
    assert await installation.records("org_a") == list(written[:2])
    assert await installation.records("") == list(written[2:])
    assert await installation.log.heads() == [Head("", 1, written[2].hmac), Head("org_a", 2, written[1].hmac)]
    assert await installation.faults("org_a") == await installation.faults("") == []


async def test_an_entry_is_written_with_its_change_or_not_at_all(installation: Installation) -> None:
    installation.append(entry("org_a", 1))
    with contextlib.suppress(LookupError), installation.engine.begin() as connection:
        installation.chains.append(connection, entry("org_a", 2, user_id="ada"), entry("org_b", 3))
        raise LookupError("changed my mind")
    installation.append(entry("org_a", 4))
    assert [(r.sequence, r.occurred_at.microsecond) for r in await installation.records("org_a")] == [(1, 1), (2, 4)]
    assert await installation.records("org_b") == []
    assert await installation.faults("org_a") == []


async def test_chains_have_no_gaps_and_nobody_waits_in_a_circle_when_many_write(
    installation: Installation, tmp_path: Path, database: str
) -> None:
    """Two replicas, each on threads; changes touch the revocations' head, several chains in any order, end users."""
    organizations = ["", *(f"org_{number}" for number in range(9))]
    installation.found(*organizations[1:])
    rounds, threads = (40, 8) if database else (15, 4)
    other = open_engine(tmp_path, database)

    def work(engine: Engine, seed: int) -> int:
        chance = random.Random(seed)
        written = 0
        for number in range(rounds):
            chosen = chance.sample(organizations, chance.randint(1, 4))
            entries = [entry(one, number, chance.choice(["", "ada", "bob", "eve"])) for one in chosen]
            with engine.begin() as connection:
                written += len(installation.chains.append(connection, entries[0], *entries[1:]))
                if chance.random() < 0.2:
                    installation.chains.forget_user(connection, chosen[0], "ada")
                if chance.random() < 0.5:
                    connection.execute(text("UPDATE revocation_head SET sequence = sequence + 1"))
        return written

    with ThreadPoolExecutor(threads) as pool:
        engines = [installation.engine, other] * (threads // 2)
        written = list(pool.map(work, engines, range(threads)))
    other.dispose()
    heads = await installation.log.heads()
    assert [head.organization_id for head in heads] == organizations
    assert sum(head.sequence for head in heads) == sum(written)
    for head in heads:
        records = await installation.records(head.organization_id)
        assert [record.sequence for record in records] == list(range(1, head.sequence + 1))
        assert await installation.faults(head.organization_id) == []


async def test_who_waits_for_a_chain_goes_on_when_the_other_is_done(installation: Installation) -> None:
    installation.append(entry("org_a", 1))
    with installation.engine.begin() as connection:
        installation.chains.append(connection, entry("org_a", 2))
        waiting = asyncio.create_task(asyncio.to_thread(installation.append, entry("org_a", 3)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    async with asyncio.timeout(GUARD_S):
        (third,) = await waiting
    assert third.sequence == 3
    assert await installation.faults("org_a") == []


async def test_an_end_user_has_one_pseudonym_an_organization_until_forgotten(installation: Installation) -> None:
    def target(organization_id: str, user_id: str) -> str:
        (record,) = installation.append(entry(organization_id, user_id=user_id))
        return record.target

    ada, bob = target("org_a", "ada"), target("org_a", "bob")
    assert target("org_a", "ada") == ada
    assert len({ada, bob, target("org_b", "ada")}) == 3
    assert "ada" not in ada

    with installation.engine.begin() as connection:
        assert installation.chains.forget_user(connection, "org_a", "ada") == 1
    with installation.engine.begin() as connection:
        assert installation.chains.forget_user(connection, "org_a", "ada") == 0
    assert target("org_a", "bob") == bob
    assert target("org_a", "ada") != ada, "who was forgotten is a new user"
    assert await installation.faults("org_a") == [], "the chain is as it was"

    with installation.engine.begin() as connection:
        assert installation.chains.forget_users(connection, "org_a") == 2
    assert target("org_a", "bob") != bob


async def test_no_row_has_an_end_user_in_clear(installation: Installation) -> None:
    installation.append(
        entry("org_a", user_id="ada.lovelace"), replace(entry("org_a"), target="x", user_id="ada.lovelace")
    )
    with installation.engine.begin() as connection:
        for table in ("audit_records", "audit_users", "audit_heads"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):  # noqa: S608 - names of ours
                assert "lovelace" not in repr(tuple(row))


TAMPERING: dict[str, tuple[list[str], list[tuple[int, str]]]] = {
    "update": (["UPDATE audit_records SET details = '{}' WHERE {at} = 4"], [(4, "changed")]),
    "update who": (["UPDATE audit_records SET actor = 'key_other' WHERE {at} = 10"], [(10, "changed")]),
    "delete": (["DELETE FROM audit_records WHERE {at} = 4"], [(4, "missing")]),
    "delete the first": (["DELETE FROM audit_records WHERE {at} = 1"], [(1, "missing")]),
    "delete several": (["DELETE FROM audit_records WHERE {at} IN (4, 5, 8)"], [(4, "missing"), (8, "missing")]),
    "reorder": (
        [
            "UPDATE audit_records SET sequence = -1 WHERE {at} = 4",
            "UPDATE audit_records SET sequence = 4 WHERE {at} = 7",
            "UPDATE audit_records SET sequence = 7 WHERE {at} = -1",
        ],
        [(4, "reordered"), (7, "reordered")],
    ),
    "delete and close up": (
        [
            "DELETE FROM audit_records WHERE {at} = 8",
            "UPDATE audit_records SET sequence = 8 WHERE {at} = 9",
            "UPDATE audit_records SET sequence = 9 WHERE {at} = 10",
            "UPDATE audit_heads SET sequence = 9 WHERE organization_id = 'org_a'",
        ],
        [(8, "reordered"), (9, "reordered"), (10, "cut")],
    ),
    "cut": (["DELETE FROM audit_records WHERE {at} > 6"], [(7, "cut")]),
    "cut and set back": (
        [
            "DELETE FROM audit_records WHERE {at} > 6",
            "UPDATE audit_heads SET sequence = 6, hmac = (SELECT hmac FROM audit_records WHERE {at} = 6)"
            " WHERE organization_id = 'org_a'",
        ],
        [(7, "cut")],
    ),
    "everything": (
        [
            "DELETE FROM audit_records WHERE organization_id = 'org_a'",
            "DELETE FROM audit_heads WHERE organization_id = 'org_a'",
        ],
        [(1, "cut")],
    ),
    "another organization's": (
        ["UPDATE audit_records SET organization_id = 'org_b' WHERE {at} = 5"],
        [(5, "missing")],
    ),
    "the head alone": (
        [
            "UPDATE audit_heads SET hmac = (SELECT hmac FROM audit_records WHERE {at} = 3)"
            " WHERE organization_id = 'org_a'"
        ],
        [(10, "changed")],
    ),
    "the head set back": (
        ["UPDATE audit_heads SET sequence = 7 WHERE organization_id = 'org_a'"],
        [(8, "changed")],
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
async def test_tampering_is_found_and_named(installation: Installation, tampering: str) -> None:
    statements, expected = TAMPERING[tampering]
    installation.grow("org_a", 10)
    installation.grow("org_b", 2)
    assert await installation.checkpointer.write() == 2
    assert await installation.faults("org_a") == []
    for statement in statements:
        installation.do(statement.replace("{at}", "organization_id = 'org_a' AND sequence"))
    assert await installation.faults("org_a") == expected


async def test_a_chain_rewritten_with_recomputed_plain_hashes_is_found_and_named(installation: Installation) -> None:
    installation.grow("org_a", 10)
    previous = (await installation.records("org_a"))[2].hmac
    for record in (await installation.records("org_a"))[3:]:
        details = '{"number":-1}' if record.sequence == 4 else record.details
        plain = hashlib.sha256(previous + repr((record.sequence, record.actor, details)).encode()).digest()
        installation.do(
            "UPDATE audit_records SET details = :details, previous = :previous, hmac = :plain"
            " WHERE organization_id = 'org_a' AND sequence = :at",
            details=details,
            previous=previous,
            plain=plain,
            at=record.sequence,
        )
        previous = plain
    installation.do("UPDATE audit_heads SET hmac = :plain WHERE organization_id = 'org_a'", plain=previous)
    assert await installation.faults("org_a") == [(place, "changed") for place in range(4, 11)]


async def test_a_cut_that_is_grown_over_is_found_and_named(installation: Installation) -> None:
    installation.grow("org_a", 10)
    await installation.checkpointer.write()
    for statement in TAMPERING["cut and set back"][0]:
        installation.do(statement.replace("{at}", "organization_id = 'org_a' AND sequence"))
    installation.grow("org_a", 8)
    await installation.checkpointer.write()
    assert await installation.faults("org_a") == [(10, "cut")]


async def test_a_row_put_behind_the_end_is_found_and_stops_the_chain(installation: Installation) -> None:
    installation.grow("org_a", 3)
    installation.do(
        "INSERT INTO audit_records SELECT organization_id, 4, occurred_at, actor, action, target, details, outcome,"
        " address, request_id, ends, previous, hmac FROM audit_records WHERE organization_id = 'org_a' AND sequence = 3"
    )
    assert set(await installation.faults("org_a")) == {(4, "changed")}
    with pytest.raises(Exception, match=r"(?i)unique"):
        installation.append(entry("org_a"))


async def test_a_loss_after_the_last_checkpoint_is_the_stated_limit(installation: Installation) -> None:
    installation.grow("org_a", 6)
    await installation.checkpointer.write()
    installation.grow("org_a", 4)
    for statement in TAMPERING["cut and set back"][0]:
        installation.do(statement.replace("{at}", "organization_id = 'org_a' AND sequence"))
    found = await installation.trail.verify("org_a")
    assert (found.faults, found.entries, found.last_checkpoint_sequence) == ([], 6, 6)


async def test_a_long_chain_is_verified_while_it_grows(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        installation.chains.append(connection, entry("org_a"), *(entry("org_a", number) for number in range(1, 2300)))
    verifying = asyncio.create_task(installation.trail.verify("org_a"))
    await asyncio.to_thread(installation.grow, "org_a", 20)
    found = await verifying
    assert found.faults == []
    assert 2300 <= found.entries <= 2320


async def test_a_database_that_is_gone_is_told_and_one_that_comes_back_is_used(
    tmp_path: Path,
) -> None:
    with postgresql() as server, installed(tmp_path, server.create_database("audit")) as found:
        found.append(entry("", 1))
        await found.log.heads()
        server.stop()
        try:
            with pytest.raises(ServiceUnavailable):
                await found.log.change(lambda transaction: transaction.append(entry("", 2)))
            with pytest.raises(ServiceUnavailable):
                await found.trail.page("", 0, "")
        finally:
            server.start()
        await found.log.change(lambda transaction: transaction.append(entry("", 3)))
        assert [record.sequence for record in await found.records("")] == [1, 2]
        assert await found.faults("") == []
