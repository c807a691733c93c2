"""Copies of cached answers at the edge: bounded, fresh, and never kept past a withdrawal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_core.clock import ManualClock
from asahi_edge.domain.near_cache import NearCache
from services.edge.tests.neighbours import answer

_KIB = 1024


class _Kept:
    """A near cache and what a test asks of it."""

    def __init__(self, max_bytes: int = 64 * _KIB) -> None:
        self.clock = ManualClock()
        self.near = NearCache(self.clock, max_bytes)

    def keep(
        self, number: int, *, organization: str = "org-1", ttl_s: float = 60, epoch: int | None = None, size: int = 1
    ) -> None:
        entry = CacheEntry(answer=answer("x" * size), request_id=f"r-{number}")
        entry.created_at.FromDatetime(self.clock.now())
        at = self.near.epoch if epoch is None else epoch
        self.near.keep(organization, bytes([number]), entry, ttl_s, at)

    def has(self, number: int, *, organization: str = "org-1", max_age_s: float | None = None) -> bool:
        hit = self.near.find(organization, bytes([number]), max_age_s)
        assert hit is None or (hit.tier, hit.entry.request_id) == (1, f"r-{number}")
        return hit is not None


def test_what_is_kept_is_found_by_its_organisation_alone() -> None:
    kept = _Kept()
    kept.keep(1)
    assert kept.has(1)
    assert not kept.has(1, organization="org-2")
    assert not kept.has(2)


def test_an_entry_is_served_until_its_time_is_over_and_no_longer() -> None:
    kept = _Kept()
    kept.keep(1, ttl_s=60)
    kept.clock.advance(59.9)
    assert kept.has(1)
    kept.clock.advance(0.1)
    assert not kept.has(1)
    assert len(kept.near) == 0


@pytest.mark.parametrize("ttl_s", [0.0, -1.0])
def test_what_has_no_time_left_is_not_kept(ttl_s: float) -> None:
    kept = _Kept()
    kept.keep(1, ttl_s=ttl_s)
    assert not kept.has(1)


def test_an_answer_older_than_asked_is_not_found_and_still_serves_others() -> None:
    kept = _Kept()
    kept.keep(1)
    kept.clock.advance(10)
    assert kept.has(1, max_age_s=10)
    assert not kept.has(1, max_age_s=9)
    assert not kept.has(1, max_age_s=0)
    assert kept.has(1)


def test_what_was_fetched_before_a_withdrawal_is_not_kept_after_it() -> None:
    kept = _Kept()
    epoch = kept.near.epoch
    kept.near.withdraw("org-2", b"other")
    kept.keep(1, epoch=epoch)
    assert kept.has(1), "another organisation's withdrawals are none of its business"
    kept.near.withdraw("org-1", b"other")
    kept.keep(2, epoch=epoch)
    assert not kept.has(2)
    kept.near.clear()
    kept.keep(2, epoch=epoch)
    assert not kept.has(2)
    kept.keep(2)
    assert kept.has(2)


def test_withdrawals_of_many_organisations_are_remembered_within_a_bound() -> None:
    kept = _Kept()
    epoch = kept.near.epoch
    for number in range(10_001):
        kept.near.withdraw(f"org-{number}", b"")
    assert kept.near.withdrawn_since("org-0", epoch)
    assert kept.near.withdrawn_since("org-10000", epoch)
    assert not kept.near.withdrawn_since("org-1", kept.near.epoch)


def test_one_entry_or_all_of_an_organisation_are_withdrawn() -> None:
    kept = _Kept()
    for number in (1, 2):
        kept.keep(number)
    kept.keep(3, organization="org-2")
    kept.near.withdraw("org-1", bytes([1]))
    assert [kept.has(1), kept.has(2), kept.has(3, organization="org-2")] == [False, True, True]
    kept.near.withdraw("org-1", b"")
    assert [kept.has(2), kept.has(3, organization="org-2")] == [False, True]


def test_the_least_recently_used_leave_first() -> None:
    kept = _Kept(max_bytes=10 * _KIB)
    for number in range(8):
        kept.keep(number)
    assert kept.has(0)
    for number in range(8, 12):
        kept.keep(number)
    assert kept.has(0)
    assert not kept.has(1)


def test_no_entry_takes_more_than_an_eighth_and_without_room_nothing_is_kept() -> None:
    kept = _Kept(max_bytes=64 * _KIB)
    kept.keep(1, size=8 * _KIB)
    kept.keep(2, size=6 * _KIB)
    assert [kept.has(1), kept.has(2)] == [False, True]
    none = _Kept(max_bytes=0)
    none.keep(1)
    assert not none.has(1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("keep", "keep", "withdraw", "withdraw all", "clear", "find", "time")),
            st.integers(0, 9),
            st.integers(1, 3 * _KIB),
        )
    )
)
def test_the_bound_holds_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    bound = 16 * _KIB
    kept = _Kept(max_bytes=bound)
    sizes: dict[int, int] = {}
    for step, number, size in steps:
        match step:
            case "keep":
                sizes[number] = size
                kept.keep(number, ttl_s=number + 1, size=size)
            case "withdraw":
                kept.near.withdraw("org-1", bytes([number]))
            case "withdraw all":
                kept.near.withdraw("org-1", b"")
            case "clear":
                kept.near.clear()
            case "find":
                kept.has(number)
            case "time":
                kept.clock.advance(number / 3)
    found = [number for number in range(10) if kept.has(number)]
    assert sum(sizes[number] + _KIB for number in found) <= bound
    kept.near.clear()
    kept.keep(1)
    assert kept.has(1), "what was dropped still counts"
