"""Tier 1 in memory: bounds in bytes, fairness, and time."""

import asyncio
import gc
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_cache.domain.labels import request_label, user_label
from asahi_cache.domain.tiers import Eviction, NewEntry, Query, Selection, Usage
from asahi_cache.stores.memory import ENTRY_OVERHEAD_BYTES, MemoryTier
from asahi_core.clock import ManualClock
from services.cache.tests.builders import digest, entry, new_entry

_KILOBYTE = 1024


def tier(max_bytes: int = 1024 * _KILOBYTE, share: float = 1.0, clock: ManualClock | None = None) -> MemoryTier:
    return MemoryTier(clock or ManualClock(), max_bytes=max_bytes, organization_share=share)


async def kept(memory: MemoryTier, number: int, organization_id: str = "org-1") -> CacheEntry | None:
    found = await memory.find(Query(organization_id, digest(number)))
    return CacheEntry.FromString(found.entry) if found is not None else None


async def test_what_is_kept_is_found_as_it_was() -> None:
    memory = tier()
    assert await memory.keep(new_entry(1))
    assert await kept(memory, 1) == entry("x")
    assert await kept(memory, 2) is None


async def test_a_newer_answer_takes_the_place_of_an_older_one() -> None:
    memory = tier()
    await memory.keep(NewEntry("org-1", digest(1), entry("old"), 60))
    await memory.keep(NewEntry("org-1", digest(1), entry("new"), 60))
    assert await kept(memory, 1) == entry("new")
    assert memory.entries == 1


async def test_an_entry_is_served_up_to_the_end_of_its_time_and_says_how_long_that_is() -> None:
    clock = ManualClock()
    memory = tier(clock=clock)
    await memory.keep(new_entry(1, ttl_s=60))
    clock.advance(59)
    found = await memory.find(Query("org-1", digest(1)))
    assert found is not None
    assert found.ttl_s == pytest.approx(1)
    clock.advance(1)
    assert await kept(memory, 1) is None
    assert (memory.entries, memory.bytes, memory.expired) == (0, 0, 1)


async def test_a_caller_who_wants_a_young_answer_gets_no_older_one() -> None:
    clock = ManualClock()
    memory = tier(clock=clock)
    given_at_s = clock.now().timestamp()
    await memory.keep(NewEntry("org-1", digest(1), entry(given_at_s=given_at_s), 600))
    clock.advance(10)
    assert await memory.find(Query("org-1", digest(1), max_age_s=10)) is not None
    assert await memory.find(Query("org-1", digest(1), max_age_s=9.5)) is None
    assert await memory.find(Query("org-1", digest(1))) is not None, "it is too old for one caller only"


async def test_a_sweep_drops_what_has_expired_and_nothing_else() -> None:
    clock = ManualClock()
    memory = tier(64 * 1024 * _KILOBYTE, clock=clock)
    for number in range(1200):
        await memory.keep(new_entry(number, organization_id=f"org-{number % 3}", ttl_s=10 + number % 2))
    clock.advance(10)
    await memory.sweep()
    assert (memory.entries, memory.expired) == (600, 600)


async def test_lookups_go_on_during_a_sweep() -> None:
    memory = tier(64 * 1024 * _KILOBYTE)
    for number in range(2000):
        await memory.keep(new_entry(number))
    sweeping = asyncio.create_task(memory.sweep())
    await asyncio.sleep(0)
    assert not sweeping.done()
    assert await kept(memory, 1) is not None
    await sweeping


async def test_the_least_recently_used_entry_leaves_first() -> None:
    memory = tier(8 * _KILOBYTE)
    number = 0
    while not memory.evicted[Eviction.ORGANIZATION_SHARE]:
        await kept(memory, 0)
        await memory.keep(new_entry(number))
        number += 1
    assert await kept(memory, 0) is not None
    assert await kept(memory, 1) is None


async def test_no_organization_holds_more_than_its_share() -> None:
    memory = tier(64 * _KILOBYTE, share=0.25)
    for number in range(100):
        await memory.keep(new_entry(number))
    assert (await memory.usage("org-1")).bytes <= 16 * _KILOBYTE
    assert memory.evicted[Eviction.TOTAL] == 0
    assert await kept(memory, 99) is not None


async def test_an_organization_within_its_fair_share_loses_nothing_to_a_flood_of_others() -> None:
    memory = tier(64 * _KILOBYTE, share=0.75)
    for number in range(5):
        await memory.keep(new_entry(number, organization_id="small"))
    for number in range(500):
        await memory.keep(new_entry(number, organization_id=f"flood-{number % 2}"))
    assert (await memory.usage("small")).entries == 5
    assert memory.evicted[Eviction.TOTAL] > 0


async def test_questions_that_nobody_repeats_do_not_push_out_those_that_are_asked_again() -> None:
    memory = tier(64 * _KILOBYTE)
    for number in range(20):
        await memory.keep(new_entry(number))
        assert await kept(memory, number) is not None
    for number in range(100, 1100):
        await memory.keep(new_entry(number))
    assert [await kept(memory, number) is not None for number in range(20)] == [True] * 20


async def test_what_is_asked_again_soon_after_it_left_stays_longer_than_what_is_new() -> None:
    memory = tier(64 * _KILOBYTE)
    for number in range(70):
        await memory.keep(new_entry(number))
    assert await kept(memory, 0) is None
    await memory.keep(new_entry(0))
    for number in range(1000, 1200):
        await memory.keep(new_entry(number))
    assert await kept(memory, 0) is not None


async def test_what_was_asked_again_once_leaves_when_others_are_asked_more() -> None:
    memory = tier(64 * _KILOBYTE)
    for first in range(0, 3000, 30):
        for _ in range(3):
            for number in range(first, first + 30):
                if await kept(memory, number) is None:
                    await memory.keep(new_entry(number))
    assert await kept(memory, 0) is None
    assert await kept(memory, 2999) is not None


async def test_an_entry_over_its_organizations_share_is_not_kept_and_drops_only_what_it_replaces() -> None:
    memory = tier(64 * _KILOBYTE, share=0.25)
    await memory.keep(new_entry(1))
    await memory.keep(new_entry(2))
    assert not await memory.keep(new_entry(1, size=17 * _KILOBYTE))
    assert (await memory.usage("org-1")).entries == 1
    assert await kept(memory, 2) is not None


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (Selection("org-1"), set()),
        (Selection("org-1", frozenset({request_label("r-2")})), {1, 3}),
        (Selection("org-1", given_before_nanos=2_000_000_000), {2, 3}),
        (Selection("org-1", frozenset({request_label("r-3")}), 2_000_000_000), {1, 2, 3}),
        (Selection("org-1", frozenset({request_label("r-1")}), 2_000_000_000), {2, 3}),
        (Selection("org-1", frozenset({user_label("ada")})), {2, 3}),
        (Selection("org-1", frozenset({user_label("bob")})), {1, 2, 3}),
        (Selection("org-3"), {1, 2, 3}),
    ],
)
async def test_what_matches_all_that_is_given_is_dropped(selection: Selection, left: set[int]) -> None:
    memory = tier()
    for number in (1, 2, 3):
        for organization_id in ("org-1", "org-2"):
            one = entry(request_id=f"r-{number}", given_at_s=number)
            one.user_id = "ada" if number == 1 else ""
            await memory.keep(NewEntry(organization_id, digest(number), one, 60))
    dropped = await memory.drop(selection)
    assert {number for number in (1, 2, 3) if await kept(memory, number) is not None} == left
    assert set(dropped) == {digest(number) for number in {1, 2, 3} - left}
    assert (await memory.usage("org-2")).entries == 3


_steps = st.lists(
    st.tuples(
        st.sampled_from(("keep", "keep", "keep", "find", "drop", "wait")),
        st.sampled_from(("a", "b", "c")),
        st.integers(0, 12),
        st.sampled_from((1, 500, 3000, 20_000)),
    ),
    max_size=80,
)


@given(steps=_steps, share=st.sampled_from((0.2, 0.5, 1.0)))
async def test_its_bounds_and_its_count_hold_whatever_happens(
    steps: list[tuple[str, str, int, int]], share: float
) -> None:
    clock = ManualClock()
    memory = tier(32 * _KILOBYTE, share, clock)
    for step, organization_id, number, size in steps:
        if step == "keep":
            is_kept = await memory.keep(new_entry(number, organization_id=organization_id, size=size))
            assert is_kept == (await kept(memory, number, organization_id) is not None)
        elif step == "find":
            await kept(memory, number, organization_id)
        elif step == "drop":
            await memory.drop(Selection(organization_id))
            assert await memory.usage(organization_id) == Usage(0, 0)
        else:
            clock.advance(size / 100)
        usages = [await memory.usage(organization) for organization in ("a", "b", "c")]
        assert memory.bytes == sum(usage.bytes for usage in usages) <= 32 * _KILOBYTE
        assert memory.entries == sum(usage.entries for usage in usages)
        assert all(usage.bytes <= 32 * _KILOBYTE * share for usage in usages)


@given(
    organizations=st.integers(1, 300),
    each=st.integers(1, 5),
    size=st.sampled_from((0, 10, 1000)),
    id_length=st.sampled_from((0, 36, 300)),
)
@settings(max_examples=12, deadline=None)
def test_it_takes_no_more_memory_than_it_counts(organizations: int, each: int, size: int, id_length: int) -> None:
    """Measured for many entries together, so that a container's growth in steps counts where it belongs."""
    memory = tier(1024 * 1024 * _KILOBYTE)
    names = [f"{number}".rjust(40, "o") for number in range(organizations)]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_fill(memory, ["warm-up"], 1, size, id_length))
    counted_before = memory.bytes
    gc.collect()
    tracemalloc.start()
    loop.run_until_complete(_fill(memory, names, each, size, id_length))
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    loop.close()
    assert taken <= memory.bytes - counted_before + 4 * ENTRY_OVERHEAD_BYTES


async def _fill(memory: MemoryTier, names: list[str], each: int, size: int, id_length: int) -> None:
    for name in names:
        for number in range(each):
            one = entry("x" * size, request_id=f"{name}-{number}".ljust(id_length, "r"))
            await memory.keep(NewEntry(name + "!", digest(number), one, 60))
