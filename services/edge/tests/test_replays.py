"""Requests that are made once: under way, answered, failed, at this edge and at others."""

import asyncio
from dataclasses import replace

import pytest
import structlog

from asahi.cache.v1.cache_pb2 import BeginReplayResponse, ReplayedAnswer
from asahi_core.errors import (
    AsahiError,
    DeadlineExceeded,
    IdempotencyConflict,
    IdempotencyReplayUnavailable,
    InsufficientQuota,
    ServiceUnavailable,
)
from asahi_edge.domain.replays import Claim, Recording, Replays
from services.edge.tests.flying import soon, until
from services.edge.tests.replay_keeper import MemoryReplays

CLAIM = Claim("org-1", "key-1", "once", b"b" * 32, "request-1")


class Maker:
    """Makes requests as the test says, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.go = asyncio.Event()
        self.error: AsahiError | None = None
        self.partial = False

    async def __call__(self, recording: Recording) -> None:
        self.made += 1
        recording.begin({"x-asahi-model": "gpt"})
        recording.add(b"one ")
        await self.go.wait()
        if self.error is not None:
            raise self.error
        recording.add(b"two")
        recording.is_partial = self.partial


def edge(store: MemoryReplays) -> Replays:
    return Replays(store, structlog.get_logger())


async def ended(store: MemoryReplays) -> Recording:
    """A request of `CLAIM` that was made and answered."""
    maker = Maker()
    maker.go.set()
    recording, _ = edge(store).open(CLAIM, maker)
    await soon(recording.whole())
    return recording


async def test_who_repeats_a_request_that_is_under_way_reads_along_and_it_is_made_once() -> None:
    replays, maker = edge(MemoryReplays()), Maker()
    opened = [replays.open(replace(CLAIM, request_id=f"request-{n}"), maker) for n in range(100)]
    assert [repeated for _, repeated in opened] == [False] + [True] * 99
    chunks = opened[-1][0].chunks()
    assert await soon(anext(chunks)) == b"one "
    maker.go.set()
    assert {await soon(recording.whole()) for recording, _ in opened} == {b"one two"}
    assert maker.made == 1
    await chunks.aclose()


async def test_a_repeat_later_or_at_another_edge_gets_the_answer_that_was_kept() -> None:
    store, other = MemoryReplays(), Maker()
    await ended(store)
    recording, repeated = edge(store).open(replace(CLAIM, request_id="request-2"), other)
    assert await soon(recording.whole()) == b"one two"
    assert (recording.headers, recording.replayed, repeated) == ({"x-asahi-model": "gpt"}, True, False)
    assert not other.made


async def test_a_repeat_at_another_edge_waits_until_the_first_has_ended() -> None:
    store, maker, other = MemoryReplays(), Maker(), Maker()
    first, _ = edge(store).open(CLAIM, maker)
    await until(lambda: maker.made == 1)
    second, _ = edge(store).open(replace(CLAIM, request_id="request-2"), other)
    maker.go.set()
    assert await soon(second.whole()) == await soon(first.whole())
    assert not other.made


async def test_another_body_is_refused_whether_the_first_is_under_way_or_answered() -> None:
    store, maker = MemoryReplays(), Maker()
    wrong = replace(CLAIM, body_digest=b"x" * 32, request_id="request-2")
    replays = edge(store)
    first, _ = replays.open(CLAIM, maker)
    with pytest.raises(IdempotencyConflict):
        replays.open(wrong, maker)
    maker.go.set()
    await soon(first.whole())
    with pytest.raises(IdempotencyConflict):
        await soon(edge(store).open(wrong, maker)[0].whole())


async def test_who_failed_for_nothing_may_try_again() -> None:
    store, maker = MemoryReplays(), Maker()
    maker.error = InsufficientQuota("The budget is spent.")
    maker.go.set()
    with pytest.raises(InsufficientQuota):
        await soon(edge(store).open(CLAIM, maker)[0].whole())
    maker.error = None
    assert await soon(edge(store).open(replace(CLAIM, request_id="request-2"), maker)[0].whole()) == b"one two"


@pytest.mark.parametrize("kind", ["billed", "unknown", "partial"])
async def test_what_cost_something_without_an_answer_is_not_made_again(kind: str) -> None:
    store, maker = MemoryReplays(), Maker()
    maker.go.set()
    if kind == "partial":
        maker.partial = True
        assert await soon(edge(store).open(CLAIM, maker)[0].whole()) == b"one two"
    else:
        maker.error = ServiceUnavailable("It broke.") if kind == "billed" else DeadlineExceeded("It took too long.")
        maker.error.billed = kind == "billed"
        with pytest.raises(type(maker.error)):
            await soon(edge(store).open(CLAIM, maker)[0].whole())
    with pytest.raises(IdempotencyReplayUnavailable):
        await soon(edge(store).open(replace(CLAIM, request_id="request-2"), maker)[0].whole())
    assert maker.made == 1


async def test_without_the_cache_service_nothing_is_made() -> None:
    store, maker = MemoryReplays(), Maker()
    store.failure = ServiceUnavailable("The cache service does not answer.")
    with pytest.raises(ServiceUnavailable):
        await soon(edge(store).open(CLAIM, maker)[0].whole())
    assert not maker.made


async def test_a_cache_service_that_is_too_slow_is_one_that_does_not_answer_and_nothing_is_left_begun() -> None:
    store, maker = MemoryReplays(), Maker()
    maker.go.set()
    begin = store.begin_replay

    async def begin_late(claim: Claim, lease_s: float) -> BeginReplayResponse:
        await begin(claim, lease_s)
        raise DeadlineExceeded("The cache service did not answer within the call's deadline.")

    store.begin_replay = begin_late  # type: ignore[method-assign]
    with pytest.raises(ServiceUnavailable) as refused:
        await soon(edge(store).open(CLAIM, maker)[0].whole())
    assert refused.value.retry_after_s
    made = [maker.made]
    store.begin_replay = begin  # type: ignore[method-assign]
    await until(lambda: not store.claims)
    await soon(edge(store).open(replace(CLAIM, request_id="request-2"), maker)[0].whole())
    assert [*made, maker.made] == [0, 1]


async def test_an_answer_that_cannot_be_kept_at_once_is_kept_soon() -> None:
    store, maker = MemoryReplays(), Maker()
    recording, _ = edge(store).open(CLAIM, maker)
    await until(lambda: maker.made == 1)
    store.failure = ServiceUnavailable("The cache service does not answer.")
    maker.go.set()
    assert await soon(recording.whole()) == b"one two"
    store.failure = None
    await until(lambda: CLAIM.name in store.answers)
    assert store.answers[CLAIM.name] == ReplayedAnswer(headers={"x-asahi-model": "gpt"}, body=b"one two")
