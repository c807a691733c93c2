"""What the cache promises over all its tiers: refusals, times to live, tenancy, withdrawal."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import FinishReason
from asahi_cache.domain.cache import AnswerCache
from asahi_cache.domain.labels import document_label, labels_of, request_label
from asahi_cache.domain.rules import MAX_TTL_S, SEVERAL
from asahi_cache.domain.tiers import Query, Selection, Usage
from asahi_cache.stores.memory import MemoryTier
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidRequest
from services.cache.tests.builders import digest, entry


class _Cache:
    """A cache over tier 1, with what it has withdrawn."""

    def __init__(self, random: Callable[[], float] = lambda: 0.0, max_bytes: int = 10_000_000) -> None:
        self.clock = ManualClock()
        self.withdrawn: list[tuple[str, bytes]] = []
        self.answers = AnswerCache(
            [MemoryTier(self.clock, max_bytes=max_bytes, organization_share=1.0)],
            default_ttl_s=1000,
            max_entry_bytes=10_000,
            random=random,
            withdraw=self._withdraw,
            clock=self.clock,
        )

    async def find(self, organization_id: str, number: int) -> CacheEntry | None:
        hit = await self.answers.lookup(Query(organization_id, digest(number)))
        return CacheEntry.FromString(hit.found.entry) if hit is not None else None

    async def store(self, one: CacheEntry, ttl_s: float | None = None, organization_id: str = "org-1") -> float:
        return await self.answers.store(organization_id, digest(1), one, ttl_s)

    async def _withdraw(self, organization_id: str, fingerprint: bytes) -> None:
        self.withdrawn.append((organization_id, fingerprint))


@pytest.mark.parametrize(
    "reason",
    [
        FinishReason.FINISH_REASON_LENGTH,
        FinishReason.FINISH_REASON_CONTENT_FILTER,
        FinishReason.FINISH_REASON_UNSPECIFIED,
        99,
    ],
)
async def test_an_answer_that_is_not_complete_is_refused(reason: FinishReason.ValueType) -> None:
    cache, partial = _Cache(), entry()
    partial.answer.finish_reason = reason
    with pytest.raises(InvalidRequest) as refusal:
        await cache.store(partial)
    assert refusal.value.param == "entry.answer.finish_reason"
    assert await cache.find("org-1", 1) is None


async def test_an_answer_that_asks_for_tools_is_complete() -> None:
    cache, call = _Cache(), entry()
    call.answer.finish_reason = FinishReason.FINISH_REASON_TOOL_CALLS
    await cache.store(call)
    assert await cache.find("org-1", 1) == call


async def test_an_answer_without_content_age_or_of_too_many_bytes_is_refused() -> None:
    cache, empty, ageless = _Cache(), entry(), entry()
    empty.answer.ClearField("chat")
    ageless.ClearField("created_at")
    for param, wrong in (("entry.answer", empty), ("entry.created_at", ageless), ("entry", entry("x" * 10_000))):
        with pytest.raises(InvalidRequest) as refusal:
            await cache.store(wrong)
        assert refusal.value.param == param


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_TTL_S + 1])
async def test_a_time_to_live_that_cannot_be_is_refused(ttl_s: float) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await _Cache().store(entry(), ttl_s)
    assert refusal.value.param == "ttl"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (Query("", digest(1)), "organization_id"),
        (Query(SEVERAL, digest(1)), "organization_id"),
        (Query("org-1", b"short"), "fingerprint"),
        (Query("org-1", digest(1), max_age_s=-1), "max_age"),
    ],
)
async def test_a_lookup_that_names_nothing_is_refused(query: Query, param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await _Cache().answers.lookup(query)
    assert refusal.value.param == param


async def test_what_concerns_no_organization_is_refused() -> None:
    cache = _Cache()
    with pytest.raises(InvalidRequest):
        await cache.answers.invalidate(Selection(""))
    with pytest.raises(InvalidRequest):
        await cache.answers.usage("")


@given(random=st.floats(0, 1, exclude_max=True), ttl_s=st.one_of(st.none(), st.floats(1, MAX_TTL_S)))
async def test_an_answer_is_served_for_its_time_less_a_tenth_at_most(random: float, ttl_s: float | None) -> None:
    cache = _Cache(lambda: random)
    served_s = await cache.store(entry(), ttl_s)
    asked_s = 1000 if ttl_s is None else ttl_s
    assert asked_s * 0.9 <= served_s <= asked_s
    cache.clock.advance(served_s * 0.999)
    assert await cache.find("org-1", 1) is not None
    cache.clock.advance(served_s * 0.002)
    assert await cache.find("org-1", 1) is None


async def test_an_answer_that_there_is_no_room_for_is_served_for_no_time() -> None:
    cache = _Cache(max_bytes=1500)
    assert await cache.store(entry("x" * 2000)) == 0
    assert await cache.find("org-1", 1) is None


_names = st.text(min_size=1, max_size=3).filter(lambda name: name != SEVERAL)


@given(stored=st.dictionaries(st.tuples(_names, st.integers(0, 3)), st.text(min_size=1), max_size=12), other=_names)
async def test_an_organization_finds_all_of_its_own_answers_and_none_of_anothers(
    stored: dict[tuple[str, int], str], other: str
) -> None:
    cache = _Cache()
    for (organization_id, number), text in stored.items():
        await cache.answers.store(organization_id, digest(number), entry(text), None)
    for organization_id in {other, *(organization_id for organization_id, _ in stored)}:
        for number in range(4):
            text = stored.get((organization_id, number), "")
            assert await cache.find(organization_id, number) == (entry(text) if text else None)
    own = sum(1 for organization_id, _ in stored if organization_id == other)
    assert (await cache.answers.usage(other)).entries == own
    assert await cache.answers.invalidate(Selection(other)) == own
    for (organization_id, number), text in stored.items():
        assert await cache.find(organization_id, number) == (entry(text) if organization_id != other else None)


async def test_usage_counts_what_is_kept() -> None:
    cache = _Cache()
    assert await cache.answers.usage("org-1") == Usage(0, 0)
    await cache.store(entry())
    usage = await cache.answers.usage("org-1")
    assert usage.entries == 1
    assert usage.bytes > entry().ByteSize()


async def test_only_the_dropped_entry_of_a_request_is_withdrawn() -> None:
    cache = _Cache()
    await cache.store(entry(request_id="r-1"))
    assert await cache.answers.invalidate(Selection("org-1", frozenset({request_label("r-1")}))) == 1
    assert cache.withdrawn == [("org-1", digest(1))]


@pytest.mark.parametrize(
    "selection",
    [
        Selection("org-1"),
        Selection("org-1", frozenset({request_label("gone")})),
        Selection("org-1", given_before_nanos=1),
    ],
)
async def test_where_copies_may_outlive_what_is_dropped_all_of_the_organization_are_withdrawn(
    selection: Selection,
) -> None:
    cache = _Cache()
    await cache.store(entry(request_id="r-1"))
    await cache.answers.invalidate(selection)
    assert cache.withdrawn == [("org-1", b"")]


_few = st.sampled_from(("", "a", "b"))
_tags = st.lists(st.sampled_from(("team=a", "team=b", "x=1")), max_size=2, unique=True)
_entries = st.builds(
    lambda request_id, user_id, document_id, tags, second: entry(
        request_id=request_id, user_id=user_id, document_id=document_id, tags=tags, given_at_s=second
    ),
    *(_few, _few, _few, _tags, st.integers(1, 3)),
)


_asked = st.builds(
    lambda request_id, user_id, document_id, tags: CacheEntry(
        request_id=request_id, user_id=user_id, document_id=document_id, tags=tags[:1]
    ),
    *(_few, _few, _few, _tags),
)


@given(stored=st.lists(_entries, max_size=8), asked=_asked, before=st.one_of(st.none(), st.integers(1, 4)))
async def test_exactly_what_matches_all_that_is_given_is_dropped(
    stored: list[CacheEntry], asked: CacheEntry, before: int | None
) -> None:
    cache = _Cache()
    for number, one in enumerate(stored):
        await cache.answers.store("org-1", digest(number), one, None)
    matching = [
        number
        for number, one in enumerate(stored)
        if (not asked.request_id or one.request_id == asked.request_id)
        and (not asked.user_id or one.user_id == asked.user_id)
        and (not asked.document_id or one.document_id == asked.document_id)
        and set(asked.tags) <= set(one.tags)
        and (before is None or one.created_at.seconds < before)
    ]
    nanos = None if before is None else before * 1_000_000_000
    selection = Selection("org-1", frozenset(labels_of(asked)), nanos)
    assert await cache.answers.invalidate(selection) == len(matching)
    for number, one in enumerate(stored):
        assert await cache.find("org-1", number) == (None if number in matching else one)


async def test_an_answer_given_before_an_invalidation_is_not_kept_after_it() -> None:
    cache = _Cache()
    now_s = cache.clock.now().timestamp()
    await cache.answers.invalidate(Selection("org-1", frozenset({document_label("contract")})))
    late = entry(document_id="contract", given_at_s=now_s)
    assert await cache.store(late) == 0
    assert await cache.find("org-1", 1) is None
    assert await cache.store(entry(document_id="letter", given_at_s=now_s)) > 0
    assert await cache.store(late, organization_id="org-2") > 0
    assert await cache.store(entry(document_id="contract", given_at_s=now_s + 1)) > 0


async def test_an_answer_that_comes_while_an_invalidation_is_made_is_not_kept() -> None:
    cache = _Cache()
    kept: list[float] = []

    async def store_meanwhile(organization_id: str, fingerprint: bytes) -> None:
        kept.append(await cache.store(entry(given_at_s=cache.clock.now().timestamp() + 1)))

    cache.answers._withdraw = store_meanwhile
    await cache.answers.invalidate(Selection("org-1"))
    assert kept == [0]


async def test_many_invalidations_are_remembered_as_one_of_everything() -> None:
    cache = _Cache()
    for number in range(150):
        await cache.answers.invalidate(Selection("org-1", frozenset({document_label(f"d-{number}")})))
    given_at_s = cache.clock.now().timestamp()
    assert await cache.store(entry(document_id="d-3", given_at_s=given_at_s)) == 0
    cache.clock.advance(11)
    await cache.answers.invalidate(Selection("org-2"))
    assert await cache.store(entry(document_id="d-3", given_at_s=given_at_s)) > 0, "it is long ago"


async def test_what_a_step_brought_is_told_as_tier_3() -> None:
    cache = _Cache()
    await cache.store(entry())
    hit = await cache.answers.lookup(Query("org-1", digest(1), step=True))
    assert hit is not None
    assert hit.tier == 3
    assert cache.answers.hits == {1: 0, 3: 1}


async def test_hits_and_misses_are_counted() -> None:
    cache = _Cache()
    await cache.find("org-1", 1)
    await cache.store(entry())
    await cache.find("org-1", 1)
    assert (cache.answers.hits, cache.answers.misses) == ({1: 1, 3: 0}, 1)
