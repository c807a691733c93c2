"""When a document is worth being kept by a provider: by how often such documents come again."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from asahi_core.clock import ManualClock
from asahi_edge.domain.prefixes import KEPT_S, PAYS_FROM, Prefixes


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_a_document_that_comes_again_is_worth_it_and_one_that_comes_first_is_not() -> None:
    prefixes = Prefixes(ManualClock())
    first = prefixes.see("org-1", digest(1))
    again = prefixes.see("org-1", digest(1))
    assert (first.is_kept, again.is_kept) == (False, True)
    assert "is not asked to keep it (20% of such documents" in first.words
    assert "is asked to keep it (60% of such documents come again within 5 minutes, 28% pay for it)" in again.words


def test_a_document_that_comes_later_comes_for_the_first_time() -> None:
    clock = ManualClock()
    prefixes = Prefixes(clock)
    prefixes.see("org-1", digest(1))
    clock.advance(KEPT_S + 1)
    assert not prefixes.see("org-1", digest(1)).is_kept


def test_where_documents_always_come_again_the_first_is_worth_it() -> None:
    prefixes = Prefixes(ManualClock())
    for number in range(5):
        for _ in range(2):
            prefixes.see("org-1", digest(number))
    assert prefixes.see("org-1", digest(99)).is_kept
    assert not prefixes.see("org-2", digest(99)).is_kept, "another organisation's documents say nothing"


def test_where_they_never_come_a_third_time_the_second_is_not() -> None:
    clock = ManualClock()
    prefixes = Prefixes(clock)
    for number in range(30):
        for _ in range(2):
            last = prefixes.see("org-1", digest(number))
        clock.advance(KEPT_S + 1)
    assert not last.is_kept


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=60))
def test_a_probability_is_one_whatever_comes(sights: list[tuple[int, int]]) -> None:
    clock = ManualClock()
    prefixes = Prefixes(clock)
    for number, pause_s in sights:
        clock.advance(pause_s)
        prospect = prefixes.see("org-1", digest(number))
        assert 0 <= prospect.again <= 1
        assert prospect.is_kept is (prospect.again > PAYS_FROM)


def test_what_was_expected_is_counted_beside_what_happened() -> None:
    def counted() -> list[float]:
        names = ("sent", "expected_again", "came_again")
        found = (REGISTRY.get_sample_value(f"asahi_documents_{name}_total", {"asked": "no"}) for name in names)
        return [value or 0.0 for value in found]

    before = counted()
    prefixes = Prefixes(ManualClock())
    for number in range(4):
        prefixes.see("org-1", digest(number))
    prefixes.see("org-1", digest(0))
    sent, expected, again = (now - then for now, then in zip(counted(), before, strict=True))
    assert (sent, round(expected, 6), again) == (4, 0.8, 1)
