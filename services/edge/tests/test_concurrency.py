"""A share of the edge's concurrency for everybody."""

from contextlib import ExitStack

import pytest

from asahi_core.errors import Overloaded
from asahi_edge.domain.concurrency import Concurrency


def _fill(concurrency: Concurrency, organization: str, held: ExitStack) -> int:
    """Takes as many places as there are."""
    for count in range(1000):
        try:
            held.enter_context(concurrency.slot(organization))
        except Overloaded:
            return count
    raise AssertionError("there is no limit")


def test_who_is_alone_may_use_nearly_all() -> None:
    concurrency = Concurrency(80)
    with ExitStack() as held:
        assert _fill(concurrency, "org-1", held) == 70
        assert _fill(concurrency, "org-2", held) == 10


def test_as_the_greedy_one_finishes_the_others_get_their_share() -> None:
    concurrency = Concurrency(80)
    with ExitStack() as others:
        with ExitStack() as greedy:
            _fill(concurrency, "org-1", greedy)
            _fill(concurrency, "org-2", others)
            with pytest.raises(Overloaded) as refused:
                greedy.enter_context(concurrency.slot("org-1"))
            assert refused.value.retry_after_s == 1.0
        assert _fill(concurrency, "org-2", others) >= 30
        with concurrency.slot("org-1"):
            pass


def test_places_are_free_again_however_a_request_ends() -> None:
    concurrency = Concurrency(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="it failed"), concurrency.slot("org-1"):
            raise ValueError("it failed")
    with concurrency.slot("org-1"), pytest.raises(Overloaded), concurrency.slot("org-2"):
        pass
    with concurrency.slot("org-2"):
        pass
