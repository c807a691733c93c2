"""The rig of `tests.shared_flights`, small: identical requests at edges of two replicas, and a lead that is killed."""

from collections.abc import Iterator

import pytest

from tests.installation import Installation
from tests.shared_flights import identical, kill_the_lead, two_of_each


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    with two_of_each() as installation:
        yield installation


async def test_identical_requests_at_edges_of_different_replicas_make_one_provider_call(running: Installation) -> None:
    assert await identical(running, running.signup(), 40, "What is coalescing?") == []


@pytest.mark.parametrize("instant_s", [0.1, 0.5])
async def test_who_was_sent_nothing_by_a_killed_edge_is_answered_with_two_calls_at_most(
    running: Installation, instant_s: float
) -> None:
    assert await kill_the_lead(running, running.signup(), instant_s, f"Who survives after {instant_s} s?") == []
