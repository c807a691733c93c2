"""A right that is taken away ends at every edge, under load; `python -m tests.revocation` measures how soon."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Installation, running_installation
from tests.revocation import ACTS, EDGES, round_of


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own."""
    folder: Path = tmp_path_factory.mktemp("revocation")
    with running_installation(folder, edges=len(EDGES)) as installation:
        yield installation


@pytest.mark.parametrize("act", ACTS)
async def test_no_edge_admits_what_has_no_right_any_more(running: Installation, act: str) -> None:
    outcome = await round_of(running, act, per_second=40)
    assert outcome.admitted_before, "it should have been admitted before"
    assert outcome.statuses.keys() == {200, ACTS[act]}
    assert outcome.statuses[ACTS[act]] > 2 * outcome.admitted_after
