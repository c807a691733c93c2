"""One installation for all tests that only ask it things; tests that break it start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Installation, Organization, running_installation


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running installation that no test may break."""
    with running_installation(tmp_path_factory.mktemp("installation")) as running:
        yield running


@pytest.fixture
def organization(installation: Installation) -> Organization:
    """A new organisation."""
    return installation.signup()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder for an installation of the test's own."""
    return tmp_path / "data"
