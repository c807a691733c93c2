"""A right that is taken away ends at every edge, under load; `python -m tests.revocation` measures how soon."""

import pytest

from tests.installation import Installation
from tests.revocation import ACTS, round_of


@pytest.mark.parametrize("act", ACTS)
async def test_no_edge_admits_what_has_no_right_any_more(installation: Installation, act: str) -> None:
    outcome = await round_of(installation, act, per_second=40)
    assert outcome.admitted_before, "it should have been admitted before"
    assert outcome.statuses.keys() == {200, ACTS[act]}
    assert outcome.statuses[ACTS[act]] > 2 * outcome.admitted_after
