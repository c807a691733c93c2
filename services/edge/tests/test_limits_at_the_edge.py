"""Limits as callers meet them: headers on every answer, refusals with their reason, tokens settled."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.chat_pb2 import Answer
from asahi_core.clock import SystemClock
from asahi_core.errors import InvalidApiKey, NoModelSatisfies
from asahi_core.ids import SystemIds
from asahi_core.keys import mint_key
from asahi_edge.api.limits import duration
from asahi_edge.domain.limits import Decision, Demand, Limit, estimated_tokens, limits_of
from asahi_edge.stores.limits_memory import MemoryLimits
from services.edge.tests.flying import asked, until, verdict
from services.edge.tests.neighbours import ScriptedCompletion, native_answer, reported
from services.edge.tests.serving import SIGNUPS, UNKNOWN_KEYS, Served, serving

USED = reported().input_tokens + reported().output_tokens
LIMIT = 10_000


def _limited(*, requests: int = 0, tokens: int = 0, per_user: int = 0) -> Verdict:
    said = verdict()
    said.policy.cache.tiers.append(1)
    said.policy.cache.ttl_seconds = 3600
    limits = said.policy.rate_limits
    if requests:
        limits.requests_per_minute = requests
    if tokens:
        limits.tokens_per_minute = tokens
    if per_user:
        limits.per_user.requests_per_minute = per_user
    return said


class _Watched:
    """Counts in memory, and says how often it was asked."""

    def __init__(self, *, degraded: bool = False) -> None:
        self.memory = MemoryLimits(SystemClock())
        self.asked = 0
        self.degraded = degraded

    async def admit(self, demand: Demand) -> Decision:
        self.asked += 1
        found = self.memory.decide(demand)
        return Decision(found.standings, found.settle, found.refused_by, found.retry_after_s, degraded=self.degraded)


def _answering(text: str = "42") -> Callable[[ScriptedCompletion], None]:
    return lambda completion: completion.answer(text)


def _answer_natively(completion: ScriptedCompletion, answer: Answer) -> None:
    completion.decide()
    completion.announce()
    completion.complete(answer)


async def _infer(served: Served, prompt: str = "What is 6 × 7?", **fields: Any) -> Any:
    return await served.ask("/infer", {"prompt": prompt, **fields})


async def test_without_limits_the_limiter_is_not_asked_and_nothing_is_said() -> None:
    watched = _Watched()
    async with serving(watched) as served:
        served.rig.router.script = _answering()
        answer = await _infer(served)
    assert answer.status_code == 200
    assert watched.asked == 0
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_every_answer_says_how_the_tightest_limit_stands() -> None:
    async with serving() as served:
        served.auth.says = _limited(requests=100, per_user=2, tokens=LIMIT)
        served.rig.router.script = _answering()
        headers = (await _infer(served, user_id="ada")).headers
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-reset-requests"] == "1m0s"
    assert headers["x-ratelimit-limit-tokens"] == str(LIMIT)
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < LIMIT


async def test_a_refused_request_is_told_which_limit_and_when_to_come_again() -> None:
    async with serving() as served:
        served.auth.says = _limited(requests=1)
        served.rig.router.script = _answering()
        assert (await _infer(served, "one")).status_code == 200
        refused = await _infer(served, "two")
        calls = len(served.rig.router.calls)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert "requests_per_minute of the organization is 1" in error["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert calls == 1


async def test_failures_say_it_too() -> None:
    async with serving() as served:
        served.auth.says = _limited(requests=5)
        served.rig.router.script = lambda completion: completion.break_off(NoModelSatisfies("None is cheap enough."))
        answer = await _infer(served)
    assert answer.status_code == 422
    assert answer.headers["x-ratelimit-remaining-requests"] == "4"


_CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
_BODIES: dict[str, dict[str, Any]] = {
    "/infer": {"prompt": "Hello"},
    "/v1/chat/completions": _CHAT,
    "/v1/messages": {**_CHAT, "max_tokens": 9},
    "/v1/responses": {"input": "Hello"},
}


@pytest.mark.parametrize("path", _BODIES)
async def test_streams_say_it_and_are_refused_with_a_status(path: str) -> None:
    body = {"stream": True, **_BODIES[path]}
    async with serving() as served:
        served.auth.says = _limited(requests=1)
        answer = native_answer(
            b'{"id": "c-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}}],'
            b' "content": [], "output": [], "status": "completed"}'
        )
        served.rig.router.script = _answering("42") if path == "/infer" else lambda call: _answer_natively(call, answer)
        first, second = await served.ask(path, body), await served.ask(path, body)
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert second.headers["x-ratelimit-limit-requests"] == "1"


async def test_hits_and_followers_use_requests_and_no_tokens() -> None:
    watched = _Watched()
    async with serving(watched) as served:
        served.auth.says = _limited(requests=100, tokens=LIMIT)
        asking = [asyncio.create_task(_infer(served)) for _ in range(3)]
        call = await served.rig.call()
        await until(lambda: watched.asked == 3)
        call.answer("42")
        answers = await asyncio.gather(*asking)
        hit = await _infer(served)
        standings = await watched.admit(Demand("org-1", _limits_of(served), 0))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert hit.json()["cache_hit"]
    used = {standing.limit.unit: standing.used for standing in standings.standings}
    assert used == {"requests": 5, "tokens": USED}


async def test_a_failed_call_gives_its_tokens_back() -> None:
    watched = _Watched()
    async with serving(watched) as served:
        served.auth.says = _limited(tokens=LIMIT)
        served.rig.router.script = lambda completion: completion.break_off(NoModelSatisfies("None is cheap enough."))
        await _infer(served)
        found = await watched.admit(Demand("org-1", _limits_of(served), 0))
    assert found.standings[0].used == 0


async def test_an_edge_without_its_redis_says_so_beside_what_else_is_missing() -> None:
    async with serving(_Watched(degraded=True)) as served:
        served.auth.says = _limited(requests=5)
        served.rig.router.script = _answering()
        alone = await _infer(served, "one")
        served.rig.cache.attached = False
        both = await _infer(served, "two")
    assert alone.headers["x-asahi-degraded"] == "redis"
    assert both.headers["x-asahi-degraded"] == "cache,redis"


async def test_signups_are_limited_by_the_address_that_trusted_proxies_tell() -> None:
    async with serving() as served:
        body = {"org_name": "Acme", "user_id": "ada"}
        statuses = [
            (await served.ask("/signup", body, x_forwarded_for=f"6.6.6.{number}, 198.51.100.1")).status_code
            for number in range(SIGNUPS + 1)
        ]
        other = await served.ask("/signup", body, x_forwarded_for="198.51.100.2")
    assert statuses == [201] * SIGNUPS + [429]
    assert other.status_code == 201


async def test_an_address_that_sends_many_unknown_keys_is_refused_and_known_keys_are_not() -> None:
    async with serving() as served:
        served.rig.router.script = _answering()
        assert (await _infer(served)).status_code == 200
        served.auth.refuses = InvalidApiKey("It is not known.")
        statuses = [
            (await served.ask("/infer", {"prompt": "x"}, authorization=f"Bearer {_forged()}")).status_code
            for _ in range(UNKNOWN_KEYS + 2)
        ]
        known = await _infer(served)
    assert statuses == [401] * UNKNOWN_KEYS + [429] * 2
    assert known.status_code == 200


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.2, "1s"), (1, "1s"), (59.9, "1m0s"), (60, "1m0s"), (61, "1m1s"), (360, "6m0s"), (0, "0s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_the_estimate_is_a_token_for_four_bytes_and_the_longest_answer_allowed() -> None:
    assert estimated_tokens(asked("r-1", "x" * 400)) == 100 + 500
    request = asked("r-2", "x" * 400)
    request.prompt.chat.max_output_tokens = 50
    assert estimated_tokens(request) == 150
    request.prompt.native.body = b'{"messages": [{"content": "%b"}], "max_tokens": 70}' % (b"x" * 400)
    assert 100 + 70 < estimated_tokens(request) < 130 + 70
    image = b'"data:image/png;base64,%b"' % (b"A" * 1_000_000)
    request.prompt.native.body = b'{"messages": [%b], "max_completion_tokens": 7}' % image
    assert 1000 < estimated_tokens(request) < 1100
    request.prompt.native.body = b'{"input": "%b", "max_output_tokens": 70}' % (b"x" * 400)
    assert 100 + 70 < estimated_tokens(request) < 130 + 70
    image = b'{"type":"base64","media_type":"image/png","data":"%b=="}' % (b"Ab+/" * 250_000)
    request.prompt.native.body = b'{"messages": [%b], "max_tokens": 7}' % image
    assert 1000 < estimated_tokens(request) < 1100


def _limits_of(served: Served) -> tuple[Limit, ...]:
    return limits_of(served.auth.says, "")


def _forged() -> str:
    return mint_key(SystemIds())
