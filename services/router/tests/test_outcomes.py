"""What is known about answers is kept: one word a source, durable, by organisation."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from asahi.router.v1.router_pb2 import RecordOutcomeRequest
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest
from asahi_router.domain.outcomes import Outcome, Outcomes
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = Outcome("org", "request", "key", "gpt-6-luna", "chat", 0.9, None, "", NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    opened = open_outcomes(tmp_path)
    yield opened
    opened.close()


async def test_an_outcome_is_kept_as_it_was_said(store: SqlOutcomeStore) -> None:
    await store.record(GOOD)
    assert await store.of_request("org", "request") == [GOOD]


async def test_the_last_word_of_a_source_replaces_the_one_before(store: SqlOutcomeStore) -> None:
    changed = replace(GOOD, score=None, correct_cache_hit=False, comment="not what I asked")
    for outcome in (GOOD, GOOD, changed):
        await store.record(outcome)
    assert await store.of_request("org", "request") == [changed]


async def test_sources_and_organisations_are_kept_apart(store: SqlOutcomeStore) -> None:
    others = replace(GOOD, source="another"), replace(GOOD, organization_id="other")
    for outcome in (GOOD, *others):
        await store.record(outcome)
    assert await store.of_request("org", "request") == [others[0], GOOD]
    assert await store.of_request("other", "request") == [others[1]]
    assert await store.of_request("org", "another request") == []


async def test_outcomes_survive_the_service(tmp_path: Path) -> None:
    first = open_outcomes(tmp_path)
    await first.record(GOOD)
    first.close()
    second = open_outcomes(tmp_path)
    assert await second.of_request("org", "request") == [GOOD]
    second.close()


def test_the_database_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    open_outcomes(tmp_path).close()
    assert (tmp_path / "router.db").stat().st_mode & 0o777 == 0o600


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    open_outcomes(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path}/router.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(OSError, match="newer version"):
        open_outcomes(tmp_path)


def test_a_file_that_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "router.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(OSError, match="file is not a database; mend or remove it, or set ASAHI_DATA_DIR"):
        open_outcomes(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="set ASAHI_DATA_DIR to a folder that can be written"):
        open_outcomes(tmp_path / "file")


async def test_what_was_said_is_noted_with_its_time(store: SqlOutcomeStore) -> None:
    outcomes = Outcomes(store, ManualClock(NOW))
    await outcomes.record(request(score=0.9))
    assert await store.of_request("org", "request") == [GOOD]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        (RecordOutcomeRequest(organization_id=""), "organization_id"),
        (RecordOutcomeRequest(organization_id="x" * 201), "organization_id"),
        (RecordOutcomeRequest(score=1.1), "score"),
        (RecordOutcomeRequest(score=float("nan")), "score"),
        (RecordOutcomeRequest(comment="x" * 2001), "comment"),
        (RecordOutcomeRequest(task_type="x" * 201), "task_type"),
    ],
)
async def test_what_cannot_be_is_refused(store: SqlOutcomeStore, wrong: RecordOutcomeRequest, param: str) -> None:
    asked = request(score=0.5)
    asked.MergeFrom(wrong)
    if param == "organization_id" and not wrong.organization_id:
        asked.organization_id = ""
    with pytest.raises(InvalidRequest) as raised:
        await Outcomes(store, ManualClock()).record(asked)
    assert raised.value.param == param


async def test_an_outcome_that_says_nothing_is_refused(store: SqlOutcomeStore) -> None:
    with pytest.raises(InvalidRequest, match="needs a 'score'"):
        await Outcomes(store, ManualClock()).record(request())


def request(score: float | None = None) -> RecordOutcomeRequest:
    return RecordOutcomeRequest(
        organization_id="org", request_id="request", source="key", model="gpt-6-luna", task_type="chat", score=score
    )
