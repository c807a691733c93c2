"""What clients make of a provider that fails in all the ways that the simulator knows."""

import asyncio
import socket
from contextlib import aclosing

import pytest

from asahi.type.v1.chat_pb2 import Api, FinishReason
from asahi.type.v1.usage_pb2 import UsageSource
from asahi_router.domain.provider import FailureKind, ProviderFailure
from asahi_router.providers import ProviderProtocol, ProviderTimeouts
from services.router.tests.provider_calls import (
    ANTHROPIC_BODY,
    KEY,
    MODEL,
    OPENAI_BODY,
    PROTOCOLS,
    QUESTION,
    client_of,
    gather,
    native,
    provider_call,
)
from simulator.tests.running import RunningSimulator

APIS = list(PROTOCOLS)
BOTH = pytest.mark.parametrize("api", APIS, ids=["openai", "anthropic"])
EITHER_WAY = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
ASKED = pytest.mark.parametrize("asked", APIS, ids=["asked-openai", "asked-anthropic"])


async def _failure(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool, timeouts: ProviderTimeouts | None = None
) -> ProviderFailure:
    async with client_of(simulator.url, PROTOCOLS[api], timeouts=timeouts) as provider:
        with pytest.raises(ProviderFailure) as failed:
            await gather(provider, provider_call(native(api), stream=stream))
    return failed.value


@BOTH
@EITHER_WAY
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REFUSED),
        (401, FailureKind.UNAUTHORIZED),
        (403, FailureKind.UNAUTHORIZED),
        (404, FailureKind.REFUSED),
        (413, FailureKind.REFUSED),
        (422, FailureKind.REFUSED),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.FAILED),
        (502, FailureKind.FAILED),
        (503, FailureKind.OVERLOADED),
        (529, FailureKind.OVERLOADED),
    ],
)
async def test_a_status_says_what_kind_of_failure_it_is(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool, status: int, kind: FailureKind
) -> None:
    message = f"told so, by {KEY}"
    simulator.rules({"mode": "status", "params": {"status": status, "retry_after_s": 1.5, "message": message}})
    failure = await _failure(simulator, api, stream)
    assert failure.kind == kind
    assert "told so" in failure.message
    assert KEY not in failure.message
    assert failure.retry_after_s == 1.5
    assert failure.received is None


@BOTH
@EITHER_WAY
async def test_a_spent_account_is_the_operator_s_trouble(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool
) -> None:
    simulator.rules({"mode": "status", "params": {"status": 429, "type": "insufficient_quota"}})
    assert (await _failure(simulator, api, stream)).kind == FailureKind.UNAUTHORIZED


@BOTH
@EITHER_WAY
async def test_a_connection_that_is_dropped_costs_nothing(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool
) -> None:
    simulator.rules({"mode": "drop"})
    failure = await _failure(simulator, api, stream)
    assert (failure.kind, failure.received) == (FailureKind.UNREACHABLE, None)


@BOTH
async def test_nobody_at_the_address_is_told_without_the_address(api: Api.ValueType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with client_of(f"http://127.0.0.1:{port}", PROTOCOLS[api]) as provider:
        with pytest.raises(ProviderFailure) as failed:
            await gather(provider, provider_call(native(api)))
    assert failed.value.kind == FailureKind.UNREACHABLE
    assert str(port) not in failed.value.message


@BOTH
@EITHER_WAY
async def test_silence_before_the_first_byte_ends_in_time(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool
) -> None:
    simulator.rules({"mode": "hang"})
    failure = await _failure(simulator, api, stream, ProviderTimeouts(silence_s=0.2, whole_s=0.2))
    assert failure.kind == FailureKind.TIMED_OUT


@BOTH
async def test_a_stream_that_falls_silent_ends_in_time(simulator: RunningSimulator, api: Api.ValueType) -> None:
    simulator.rules({"mode": "slow", "params": {"tokens_per_second": 0.01, "first_token_ms": 0}})
    failure = await _failure(simulator, api, True, ProviderTimeouts(silence_s=0.3))
    assert failure.kind == FailureKind.INTERRUPTED
    assert failure.received is not None
    assert failure.received.pieces == 1


@BOTH
async def test_an_endless_stream_ends_in_time(simulator: RunningSimulator, api: Api.ValueType) -> None:
    simulator.rules({"mode": "endless"})
    failure = await _failure(simulator, api, True, ProviderTimeouts(whole_s=0.4))
    assert failure.kind == FailureKind.INTERRUPTED
    assert failure.received is not None
    assert failure.received.pieces > 0


@BOTH
async def test_an_endless_stream_ends_when_it_is_too_long(simulator: RunningSimulator, api: Api.ValueType) -> None:
    simulator.rules({"mode": "endless"})
    async with client_of(simulator.url, PROTOCOLS[api], max_answer_bytes=5_000) as provider:
        with pytest.raises(ProviderFailure, match="too long"):
            await gather(provider, provider_call(native(api), stream=True))


@BOTH
async def test_a_stream_that_is_cut_counts_what_came(simulator: RunningSimulator, api: Api.ValueType) -> None:
    simulator.rules({"mode": "cut", "params": {"after_tokens": 7}})
    failure = await _failure(simulator, api, True)
    assert failure.kind == FailureKind.INTERRUPTED
    assert failure.received is not None
    assert failure.received.pieces == 7
    assert simulator.calls()[0]["completion_tokens"] == 7


@BOTH
async def test_a_plain_answer_that_is_cut_was_written_as_a_whole(
    simulator: RunningSimulator, api: Api.ValueType
) -> None:
    simulator.rules({"mode": "cut"})
    failure = await _failure(simulator, api, False)
    assert failure.kind == FailureKind.INTERRUPTED
    assert failure.received is not None
    assert failure.received.text_bytes > 0


@BOTH
@EITHER_WAY
async def test_what_is_no_json_is_a_failure(simulator: RunningSimulator, api: Api.ValueType, stream: bool) -> None:
    simulator.rules({"mode": "malformed"})
    failure = await _failure(simulator, api, stream)
    assert failure.kind == (FailureKind.INTERRUPTED if stream else FailureKind.FAILED)
    assert failure.received is not None


@BOTH
async def test_a_stream_without_its_end_mark_is_interrupted(simulator: RunningSimulator, api: Api.ValueType) -> None:
    simulator.rules({"mode": "malformed", "params": {"after_tokens": 0}})
    failure = await _failure(simulator, api, True)
    assert failure.kind == FailureKind.FAILED


@BOTH
@EITHER_WAY
async def test_an_empty_answer_is_none_and_costs_what_was_told(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool
) -> None:
    simulator.rules({"mode": "empty"})
    failure = await _failure(simulator, api, stream)
    assert failure.kind == FailureKind.FAILED
    assert failure.received is not None
    assert failure.received.usage is not None
    assert failure.received.usage.source == UsageSource.USAGE_SOURCE_PROVIDER
    assert failure.received.usage.input_tokens == simulator.calls()[0]["prompt_tokens"]


@BOTH
@pytest.mark.parametrize(("after", "kind"), [(3, FailureKind.INTERRUPTED), (0, FailureKind.OVERLOADED)])
async def test_an_error_in_the_midst_of_a_stream_is_told(
    simulator: RunningSimulator, api: Api.ValueType, after: int, kind: FailureKind
) -> None:
    params = {"after_tokens": after, "status": 529, "type": "overloaded_error", "message": "too much"}
    simulator.rules({"mode": "stream_error", "params": params})
    failure = await _failure(simulator, api, True)
    assert (failure.kind, failure.message) == (kind, "too much")


@BOTH
@EITHER_WAY
@ASKED
@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("answer", FinishReason.FINISH_REASON_STOP),
        ("truncated", FinishReason.FINISH_REASON_LENGTH),
        ("content_filter", FinishReason.FINISH_REASON_CONTENT_FILTER),
        ("refusal", FinishReason.FINISH_REASON_CONTENT_FILTER),
    ],
)
async def test_the_reason_of_the_end_is_kept_in_every_protocol(
    simulator: RunningSimulator,
    *,
    api: Api.ValueType,
    asked: Api.ValueType,
    stream: bool,
    mode: str,
    reason: FinishReason.ValueType,
) -> None:
    simulator.rules({"mode": mode})
    async with client_of(simulator.url, PROTOCOLS[api]) as provider:
        gathered = await gather(provider, provider_call(native(asked), stream=stream))
    assert gathered.answer.finish_reason == reason
    assert gathered.answer.native.api == asked


@BOTH
@EITHER_WAY
@pytest.mark.parametrize("usage", ["zero", "missing", "factor"])
async def test_usage_is_what_the_provider_says(
    simulator: RunningSimulator, api: Api.ValueType, stream: bool, usage: str
) -> None:
    simulator.rules({"mode": "usage", "params": {"usage": usage, "factor": 2}})
    async with client_of(simulator.url, PROTOCOLS[api]) as provider:
        told = (await gather(provider, provider_call(native(api), stream=stream))).answer.usage
    call = simulator.calls()[0]
    match usage:
        case "missing":
            assert told.source == UsageSource.USAGE_SOURCE_UNSPECIFIED
        case "zero":
            assert (told.input_tokens, told.output_tokens) == (0, 0)
            assert told.source == UsageSource.USAGE_SOURCE_PROVIDER
        case _:
            assert told.input_tokens == 2 * call["prompt_tokens"]
            assert told.output_tokens == 2 * call["completion_tokens"]


@BOTH
@EITHER_WAY
async def test_closing_ends_the_call_at_once(simulator: RunningSimulator, api: Api.ValueType, stream: bool) -> None:
    simulator.rules({"mode": "endless"})
    async with client_of(simulator.url, PROTOCOLS[api]) as provider:
        call = provider_call(native(api), stream=stream)
        events = provider.call(call)
        reading = asyncio.ensure_future(_read_some(events, 6))
        await asyncio.wait({reading}, timeout=0.5)
        received = provider.received(call)
        reading.cancel()
        await asyncio.wait({reading})
        await events.aclose()
        assert (received.pieces >= 1) == stream
        async with asyncio.timeout(30):
            while simulator.calls()[0]["outcome"] != "client_left":  # noqa: ASYNC110 - another process says so
                await asyncio.sleep(0.02)
    assert provider.received(call).pieces == 0


async def _read_some(events: object, count: int) -> None:
    async for _ in events:  # type: ignore[attr-defined]  # an async generator
        count -= 1
        if count == 0:
            return


@BOTH
async def test_cached_tokens_have_buckets_of_their_own(simulator: RunningSimulator, api: Api.ValueType) -> None:
    long = "A stable prefix of many words that stays the same. " * 300
    if api == Api.API_OPENAI_CHAT_COMPLETIONS:
        body = {**OPENAI_BODY, "messages": [{"role": "user", "content": long}]}
    else:
        block = {"type": "text", "text": long, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
        body = {**ANTHROPIC_BODY, "system": [block], "messages": [{"role": "user", "content": QUESTION}]}
    async with client_of(simulator.url, PROTOCOLS[api]) as provider:
        for stream in (False, True):
            usage = (await gather(provider, provider_call(native(api, body), stream=stream))).answer.usage
            call = simulator.calls()[-1]
            written = call["cache_write_5m_tokens"] + call["cache_write_1h_tokens"]
            assert usage.cache_read_tokens == call["cached_tokens"]
            assert usage.cache_write_5m_tokens == call["cache_write_5m_tokens"]
            assert usage.cache_write_1h_tokens == call["cache_write_1h_tokens"]
            assert usage.input_tokens == call["prompt_tokens"] - call["cached_tokens"] - written
        assert simulator.calls()[-1]["cached_tokens"] > 1000


async def test_calls_are_labelled_only_where_it_is_wanted(simulator: RunningSimulator) -> None:
    for label_calls in (False, True):
        async with client_of(simulator.url, ProviderProtocol.OPENAI, label_calls=label_calls) as provider:
            await gather(provider, provider_call(native(Api.API_OPENAI_CHAT_COMPLETIONS)))
    unlabelled, labelled = simulator.calls()
    assert (unlabelled["request_id"], unlabelled["attempt"]) == ("", "")
    assert (labelled["request_id"], labelled["attempt"]) == ("request-1", "1")


async def test_a_key_is_in_no_representation(simulator: RunningSimulator) -> None:
    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        assert KEY not in repr(provider)
        assert KEY not in str(provider)


@BOTH
async def test_connections_are_used_again(simulator: RunningSimulator, api: Api.ValueType) -> None:
    async with client_of(simulator.url, PROTOCOLS[api], connections=1) as provider:
        for stream in (False, True, True, False):
            async with asyncio.timeout(30):
                await gather(provider, provider_call(native(api), stream=stream))


async def test_a_question_of_many_megabytes_is_sent(simulator: RunningSimulator) -> None:
    body = {**OPENAI_BODY, "metadata": {"padding": "x" * 3_000_000}}
    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        gathered = await gather(provider, provider_call(native(Api.API_OPENAI_CHAT_COMPLETIONS, body)))
    assert gathered.answer.model == MODEL


async def test_events_of_a_stream_come_one_by_one(simulator: RunningSimulator) -> None:
    simulator.rules({"mode": "slow", "params": {"first_token_ms": 0, "tokens_per_second": 20}})
    async with client_of(simulator.url, ProviderProtocol.OPENAI) as provider:
        call = provider_call(native(Api.API_OPENAI_CHAT_COMPLETIONS), stream=True)
        async with aclosing(provider.call(call)) as events, asyncio.timeout(30):
            await anext(events)
            await anext(events)
            assert simulator.calls()[0]["outcome"] == "under_way"
