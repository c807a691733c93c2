"""What is known about answers to an end user, or all of an organisation, is erased and forgotten, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from asahi_core.clock import ManualClock
from asahi_core.prices import load_price_book
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import alembic_config, migrate
from asahi_router.domain.erasure import Erased, Eraser
from asahi_router.domain.evidence import TariffCosts
from asahi_router.domain.examples import Example
from asahi_router.domain.experience import Experience
from asahi_router.domain.form import form_of
from asahi_router.domain.outcomes import Outcome
from asahi_router.stores.opening import SCHEMA, open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore
from asahi_router.stores.tables import RouterTable
from services.router.tests.learning_rig import DEAR
from tests.postgresql import PostgreSQL, postgresql

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVER = datetime(2000, 1, 1, tzinfo=UTC)
FORM = form_of("Who am I?", "chat")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"router_{number}" for number in count())


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, names: Iterator[str]) -> str:
    """A database of the test's own; empty: SQLite."""
    if request.param == "sqlite":
        return ""
    server: PostgreSQL = request.getfixturevalue("server")
    return server.create_database(next(names))


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[SqlOutcomeStore]:
    with closing(open_outcomes(tmp_path, url)) as opened:
        yield opened


def outcome(request: str, user: str = "", org: str = "org", score: float = 1.0) -> Outcome:
    return Outcome(org, request, "key", DEAR, "chat", score, None, f"{user} liked it", NOW, user)


def example(request: str, user: str = "", org: str = "org", at: datetime = NOW) -> Example:
    return Example(org, request, DEAR, FORM, b"", 40, 100, at, user)


def experience_at(store: SqlOutcomeStore, clock: ManualClock) -> Experience:
    return Experience(store, TariffCosts(load_price_book(), clock), clock, structlog.get_logger(), 50_000)


def learned(experience: Experience) -> int | None:
    """Answers that the organisation's memory was learned from."""
    lesson = experience.lesson("org", b"")
    return None if lesson is None else int(np.sum(lesson.taught.learned.answers))


async def requests(store: SqlOutcomeStore) -> set[tuple[str, str]]:
    """Organisation and request of every judged example."""
    return {(one.example.organization_id, one.example.request_id) for one in await store.judged(EVER, 1000)}


async def test_an_end_user_is_erased_and_nobody_else(store: SqlOutcomeStore) -> None:
    kept = [("grace", "org"), ("", "org"), ("ada", "other")]
    for user, org in [("ada", "org"), *kept]:
        await store.keep([example(f"of {user}", user, org)])
        await store.record(outcome(f"of {user}", user, org))
    assert await store.erase("org", "ada", NOW) == Erased(1, 1)
    assert await store.of_request("org", "of ada") == []
    assert await requests(store) == {(org, f"of {user}") for user, org in kept}
    assert await store.of_request("other", "of ada") == [outcome("of ada", "ada", "other")]
    assert await store.erase("org", "ada", NOW) == Erased(0, 0)


async def test_what_was_said_of_a_users_request_under_no_name_goes_with_it(store: SqlOutcomeStore) -> None:
    await store.keep([example("r", "ada")])
    await store.record(outcome("r"))
    assert await store.erase("org", "ada", NOW) == Erased(1, 1)


async def test_a_user_whose_name_has_a_nul_is_kept_and_erased(store: SqlOutcomeStore) -> None:
    await store.keep([example("r", "a\0b")])
    await store.record(replace(outcome("s", "a\0b"), comment=""))
    assert await store.erase("org", "a\0b", NOW) == Erased(1, 1)


async def test_an_organisation_is_erased_whole_and_no_other(store: SqlOutcomeStore) -> None:
    for user, org in [("ada", "org"), ("", "org"), ("ada", "other")]:
        await store.keep([example(f"of {user}", user, org)])
        await store.record(outcome(f"of {user}", user, org))
    assert await store.erase("org", "", NOW) == Erased(2, 2)
    assert await requests(store) == {("other", "of ada")}


async def test_an_answer_from_before_an_erasure_that_comes_late_is_not_kept(store: SqlOutcomeStore) -> None:
    await store.erase("org", "ada", NOW)
    late, later = example("late", "ada", at=NOW - timedelta(seconds=9)), example("later", at=NOW + timedelta(seconds=1))
    await store.keep([late, later, replace(late, organization_id="other")])
    for org, request in [("org", "late"), ("org", "later"), ("other", "late")]:
        await store.record(outcome(request, org=org))
    assert await requests(store) == {("org", "later"), ("other", "late")}


async def test_every_process_learns_anew_without_who_was_erased(store: SqlOutcomeStore) -> None:
    clock = ManualClock(NOW)
    asked, other = experience_at(store, clock), experience_at(store, clock)
    for number in range(500):
        user = "ada" if number % 2 else "grace"
        asked.answered(example(str(number), user))
        await store.record(outcome(str(number), user, score=float(number % 3 == 0)))
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience) == 500
    assert await Eraser(store, asked, clock).erase("org", "ada") == Erased(250, 250)
    assert learned(asked) is None, "it is forgotten at once"
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience) == 250


async def test_a_memory_that_is_too_small_after_an_erasure_decides_nothing(store: SqlOutcomeStore) -> None:
    clock = ManualClock(NOW)
    asked, other = experience_at(store, clock), experience_at(store, clock)
    for number in range(210):
        asked.answered(example(str(number), "ada"))
        await store.record(outcome(str(number), "ada", score=float(number % 3 == 0)))
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience) == 210
    await Eraser(store, asked, clock).erase("org", "")
    for experience in (asked, other):
        await experience.catch_up()
        assert learned(experience) is None


def test_rows_of_the_schema_before_are_kept_under_no_name_and_tables_are_those_of_the_code(
    url: str, tmp_path: Path
) -> None:
    engine = open_engine(database_at(url, tmp_path / "router.db"), "router", connections=1)
    migrate(engine, SCHEMA)
    with engine.begin() as connection:
        config = alembic_config(connection, SCHEMA)
        command.downgrade(config, "0002")
        before = "INSERT INTO outcomes VALUES ('org', 'r', 'key', 'm', 'chat', 1, NULL, 'good', '2026-11-24 12:00:00')"
        connection.execute(text(before))
        command.upgrade(config, "head")
        assert connection.execute(text("SELECT comment, user_id FROM outcomes")).one() == ("good", "")
        opts = {"compare_type": True, "version_table": SCHEMA.version_table(connection.dialect.name)}
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), RouterTable.metadata) == []
    engine.dispose()
