"""One installation of two edges for all tests that only ask it things; tests that break it start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import PATIENT, Installation, Organization, running_installation


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running installation that no test may break; a test's rules for its simulator go with the test."""
    folder = tmp_path_factory.mktemp("installation")
    with running_installation(folder, edges=2, environment=PATIENT) as running:
        yield running


@pytest.fixture
def organization(installation: Installation) -> Organization:
    """A new organisation."""
    return installation.signup()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder for an installation of the test's own."""
    return tmp_path / "data"
