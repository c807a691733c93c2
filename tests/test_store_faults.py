"""The verdict of the rigs that break stores: whether p99 is as before, whatever else the machine does."""

from random import Random

import pytest

from tests.store_faults import Both, rise_of

_SECONDS, _EACH = 30, 40


def times(random: Random, *, slow_share: float = 0.0, slow_ms: float = 0.0, busy: float = 0.0) -> Both:
    """Answers of about 10 ms; a share of the subject's is slower, and in some seconds everybody's are."""
    both: Both = ({}, {})
    for second in range(_SECONDS):
        extra = 60.0 if random.random() < busy else 0.0
        for side, kept in enumerate(both):
            kept[second] = [
                random.lognormvariate(2.3, 0.2) + extra + (slow_ms if side == 0 and random.random() < slow_share else 0)
                for _ in range(_EACH)
            ]
    return both


@pytest.mark.parametrize("seed", range(5))
def test_calls_that_wait_for_the_store_are_worse_and_a_busy_machine_is_not(seed: int) -> None:
    random = Random(seed)
    quiet, busy = times(random), times(random, busy=0.3)
    assert rise_of(quiet, times(random), random).verdict == "as before"
    assert rise_of(quiet, busy, random).verdict == "as before"
    assert rise_of(quiet, times(random, slow_share=0.05, slow_ms=50), random).verdict == "worse"
    assert rise_of(busy, times(random, slow_share=0.05, slow_ms=50), random).verdict != "as before"


def test_what_cannot_be_told_is_said_to_be_so() -> None:
    random = Random(1)
    assert rise_of(times(random), times(random, slow_share=0.01, slow_ms=50), random).verdict == "undecided"
