"""The databases that the auth service keeps its truth in: what is promised of one is promised of both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import PostgreSQL, postgresql

DATABASES = ("SQLite", "PostgreSQL")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    """A real PostgreSQL server."""
    with postgresql() as running:
        yield running


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What `DATABASE_URL` is: empty for SQLite, else a new database."""
    if request.param == "SQLite":
        return ""
    running: PostgreSQL = request.getfixturevalue("server")
    return running.create_database(f"auth_{abs(hash(tmp_path)):x}")
