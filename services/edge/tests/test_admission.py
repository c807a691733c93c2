"""Who is let in: a share for everybody, and fewer while work waits its turn."""

from contextlib import ExitStack, suppress

import pytest
import structlog

from asahi_core.clock import ManualClock
from asahi_core.errors import Overloaded
from asahi_edge.domain.admission import Admission, Place, arrived
from asahi_edge.domain.congestion import Congestion


def _fill(admission: Admission, organization: str, held: ExitStack) -> int:
    """Takes as many places as there are."""
    for count in range(1000):
        try:
            held.enter_context(admission.slot(organization))
        except Overloaded:
            return count
    raise AssertionError("there is no limit")


def _let_in(admission: Admission, organization: str, count: int) -> int:
    """How many of so many requests are let in, which stay."""
    refused = admission.refused
    for _ in range(count):
        with suppress(Overloaded):
            admission.take(organization)
    return count - (admission.refused - refused)


def _taken(admission: Admission, organization: str, count: int) -> list[Place]:
    return [admission.take(organization) for _ in range(count)]


def test_who_is_alone_may_use_three_quarters() -> None:
    admission = Admission(80)
    with ExitStack() as held:
        assert _fill(admission, "org-1", held) == 60
        assert _fill(admission, "org-2", held) == 20


def test_as_the_greedy_one_finishes_the_others_get_their_share() -> None:
    admission = Admission(80)
    with ExitStack() as others:
        with ExitStack() as greedy:
            _fill(admission, "org-1", greedy)
            _fill(admission, "org-2", others)
            with pytest.raises(Overloaded) as refused:
                greedy.enter_context(admission.slot("org-1"))
            assert refused.value.retry_after_s == 1.0
        assert _fill(admission, "org-2", others) >= 30
        with admission.slot("org-1"):
            pass


def test_places_are_free_again_however_a_request_ends() -> None:
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="it failed"), admission.slot("org-1"):
            raise ValueError("it failed")
    with admission.slot("org-1"), pytest.raises(Overloaded), admission.slot("org-2"):
        pass
    with admission.slot("org-2"):
        pass
    assert admission.under_way == 0


def test_a_place_from_the_door_serves_one_request_and_is_given_back_once() -> None:
    admission = Admission(10)
    place = admission.take("org-1")
    token = arrived.set(place)
    with admission.slot("org-1"):
        place.leave()
        assert admission.under_way == 1, "the pipeline has it now"
        with admission.slot("org-1"):
            assert admission.under_way == 2, "a second request has a place of its own"
    place.give_back()
    assert admission.under_way == 0
    arrived.reset(token)
    unused = admission.take("org-1")
    unused.leave()
    assert admission.under_way == 0
    assert not unused.take_over("org-1")


def test_fewer_are_let_in_while_work_waits_and_more_again_when_it_does_not() -> None:
    admission = Admission(4000)
    _taken(admission, "greedy", 1000)
    admission.relieve(0.9)
    assert admission.limit == 1100
    with pytest.raises(Overloaded):
        admission.take("greedy")
    assert _let_in(admission, "modest", 50) == 50, "who has less than their share is let in"
    admission.relieve(0.9)
    assert admission.limit == 990
    for _ in range(100):
        admission.relieve(0.9)
    assert admission.limit == 525, "half of those that there are: more may be none of their doing"
    for _ in range(50):
        admission.recover()
    assert admission.limit == 4000


def test_the_limit_falls_with_what_is_under_way_but_never_below_64() -> None:
    admission = Admission(4000)
    _taken(admission, "org-1", 65)
    limits = []
    for _ in range(4):
        admission.relieve(0.5)
        limits.append(admission.limit)
    assert limits == [71, 64, 64, 64]


def test_nobody_is_refused_for_waiting_while_few_are_under_way() -> None:
    admission = Admission(4000)
    _taken(admission, "org-1", 64)
    admission.relieve(0.5)
    assert admission.limit == 4000


def test_nobody_waits_for_requests_that_others_leave_lying() -> None:
    admission = Admission(4000)
    _taken(admission, "greedy", 1000)
    for _ in range(100):
        admission.relieve(0.5)
    assert admission.limit == 500
    assert _let_in(admission, "modest", 300) == 250, "half of five hundred, while the greedy one has twice as many"
    assert _let_in(admission, "greedy", 1) == 0


def test_so_many_organizations_that_none_has_a_share_of_one_are_let_in_while_there_is_room() -> None:
    admission = Admission(80)
    assert sum(_let_in(admission, f"org-{number}", 1) for number in range(200)) == 80


def _watched(late_s: list[float], undecided_s: list[float]) -> int:
    """The limit, of 1000 with 600 under way, after these timers and decisions."""
    clock = ManualClock()
    admission = Admission(1000)
    _taken(admission, "org-1", 600)
    congestion = Congestion(admission, clock, structlog.get_logger())
    for seconds in undecided_s:
        congestion.was_decided(seconds)
    for seconds in late_s:
        clock.advance(0.02 + seconds)
        congestion.was_late(seconds)
    return admission.limit


def test_timers_that_are_late_all_the_time_are_congestion_and_one_long_step_is_none() -> None:
    assert _watched([0.06] * 2, []) == 500, "by half at most"
    assert _watched([0.04] * 2, []) == 625, "as much as they are late"
    assert _watched([0.026] * 3, []) == 660, "as far as a tenth more than is under way at once"
    assert _watched([0.4, 0.001], []) == 1000
    assert _watched([0.001, 0.4, 0.001, 0.001, 0.001, 0.001], []) == 1000


def test_a_router_that_takes_long_to_decide_is_congestion_if_it_does_so_often() -> None:
    assert _watched([0.001] * 5, [0.3] * 20) == 500
    assert _watched([0.001] * 5, [0.001] * 20 + [0.3] * 19) == 1000
    assert _watched([0.001] * 5, [5.0] * 3) == 1000
