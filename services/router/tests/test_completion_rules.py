"""Breakers, retries and estimates, by themselves."""

import pytest

from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Image, Message, NativeBody, Prompt, Role
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import ManualClock
from asahi_router.domain.breaker import BreakerRules, Breakers
from asahi_router.domain.estimate import TokenEstimator, prompt_bytes
from asahi_router.domain.provider import Received
from asahi_router.domain.retry import RetryPolicy, RetryRules
from services.router.tests.provider_calls import provider_call

PLAIN, STREAMED = (provider_call(Prompt(), model="m", stream=stream) for stream in (False, True))
WHO = ("openai", "gpt-6-luna")


def _open(clock: ManualClock) -> Breakers:
    breakers = Breakers(clock, BreakerRules(threshold=3, open_s=5, longest_open_s=15))
    for _ in range(3):
        assert breakers.admit(*WHO)
        breakers.failed(*WHO)
    return breakers


def test_a_breaker_opens_after_failures_in_a_row_only() -> None:
    breakers = Breakers(ManualClock(), BreakerRules(threshold=3))
    for _ in range(5):
        breakers.failed(*WHO)
        breakers.failed(*WHO)
        assert breakers.admit(*WHO)
        breakers.succeeded(*WHO)
    for _ in range(3):
        breakers.failed(*WHO)
    assert not breakers.available(*WHO)
    assert breakers.available("openai", "another")
    assert breakers.available("another", WHO[1])


def test_an_open_breaker_lets_one_probe_through_when_its_time_has_come() -> None:
    clock = ManualClock()
    breakers = _open(clock)
    assert breakers.retry_after_s(*WHO) == 5
    assert not breakers.admit(*WHO)
    clock.advance(5)
    assert breakers.available(*WHO)
    assert breakers.admit(*WHO)
    assert not breakers.admit(*WHO)
    breakers.succeeded(*WHO)
    assert breakers.admit(*WHO)
    assert breakers.retry_after_s(*WHO) == 0


def test_failed_probes_are_made_ever_more_rarely() -> None:
    clock = ManualClock()
    breakers = _open(clock)
    pauses = []
    for _ in range(4):
        pauses.append(breakers.retry_after_s(*WHO))
        clock.advance(pauses[-1])
        assert breakers.admit(*WHO)
        breakers.failed(*WHO)
    assert pauses == [5, 10, 15, 15]


def test_a_probe_that_says_nothing_leaves_room_for_another() -> None:
    clock = ManualClock()
    breakers = _open(clock)
    clock.advance(5)
    assert breakers.admit(*WHO)
    breakers.abandoned(*WHO)
    assert breakers.admit(*WHO)


def test_late_failures_do_not_prolong_an_open_breaker() -> None:
    clock = ManualClock()
    breakers = _open(clock)
    clock.advance(4)
    breakers.failed(*WHO)
    assert breakers.retry_after_s(*WHO) == 1


def test_a_provider_that_asks_for_longer_is_left_alone_for_longer() -> None:
    breakers = Breakers(ManualClock(), BreakerRules(threshold=1))
    breakers.failed(*WHO, retry_after_s=300)
    assert breakers.retry_after_s(*WHO) == 300


def test_pauses_grow_and_are_never_shorter_than_asked_for() -> None:
    policy = RetryPolicy(RetryRules(per_candidate=5, base_s=0.1, longest_s=0.3), lambda: 0.999999)
    pauses = [policy.pause_s("p", failures, None, 100, others=False) for failures in range(1, 5)]
    assert pauses == [pytest.approx(pause, rel=1e-4) for pause in (0.1, 0.2, 0.3, 0.3)]
    assert policy.pause_s("p", 1, 4.0, 100, others=False) == 4.0


@pytest.mark.parametrize(
    ("failures", "retry_after_s", "left_s", "others"),
    [(3, None, 100, False), (1, 11.0, 100, False), (1, 1.0, 100, True), (1, 4.0, 6, False)],
)
def test_there_is_no_retry_where_it_is_too_late(
    failures: int, retry_after_s: float | None, left_s: float, others: bool
) -> None:
    policy = RetryPolicy(RetryRules(), lambda: 0.5)
    assert policy.pause_s("p", failures, retry_after_s, left_s, others=others) is None


def test_retries_stay_a_small_share_of_all_calls() -> None:
    policy = RetryPolicy(RetryRules(budget=10), lambda: 0.0)
    granted = 0
    for _ in range(100):
        granted += policy.pause_s("p", 1, None, 100, others=False) is not None
    assert granted == 10
    assert policy.pause_s("another", 1, None, 100, others=False) is not None
    for _ in range(10):
        policy.answered("p")
    assert policy.pause_s("p", 1, None, 100, others=False) is not None


def test_an_unknown_model_counts_four_bytes_a_token_and_a_token_a_piece() -> None:
    estimator = TokenEstimator()
    assert estimator.input_tokens("m", 400) == 100
    assert estimator.output_tokens("m", Received(text_bytes=40, pieces=9)) == 9
    assert estimator.output_tokens("m", Received(text_bytes=40)) == 10


def test_what_completed_calls_say_is_learned_by_model() -> None:
    estimator = TokenEstimator()
    for size in (100, 300, 900) * 100:
        usage = Usage(input_tokens=size // 3, output_tokens=size // 5)
        received = Received(text_bytes=size, pieces=size // 50)
        estimator.learn("m", size, usage, received, duration_ms=10, silent_ms=1)
    assert estimator.input_tokens("m", 600) == pytest.approx(200, rel=0.02)
    assert estimator.output_tokens("m", Received(text_bytes=500, pieces=10)) == pytest.approx(100, rel=0.02)
    assert estimator.input_tokens("another", 600) == 150


def test_where_pieces_are_uneven_bytes_are_counted() -> None:
    estimator = TokenEstimator()
    for number in range(300):
        received = Received(text_bytes=400, pieces=1 + number % 7)
        estimator.learn("m", 10, Usage(output_tokens=100), received, duration_ms=10, silent_ms=1)
    assert estimator.output_tokens("m", Received(text_bytes=200, pieces=1)) == pytest.approx(50, rel=0.02)


def test_a_plain_call_that_was_given_up_is_estimated_by_its_time() -> None:
    estimator = TokenEstimator()
    for tokens in (50, 100, 150, 200) * 50:
        ms = 100 + 10.0 * tokens
        estimator.learn("m", 10, Usage(output_tokens=tokens), Received(), duration_ms=ms, silent_ms=ms)
    usage = estimator.usage(PLAIN, 40, Received(), 900.0)
    assert usage.output_tokens == pytest.approx(80, abs=1)
    assert estimator.usage(PLAIN, 40, Received(), 20.0).output_tokens == 0


def test_before_any_call_the_expected_speed_tells_how_far_a_plain_call_got() -> None:
    estimator = TokenEstimator()
    assert estimator.usage(PLAIN, 40, Received(), 900.0).output_tokens == 0
    estimator.expect("m", first_token_ms=400, output_tokens_per_second=100)
    assert estimator.usage(PLAIN, 40, Received(), 900.0).output_tokens == 50


def test_what_the_provider_said_of_the_prompt_is_taken_as_it_is() -> None:
    told = Usage(input_tokens=3, cache_read_tokens=70, output_tokens=1)
    usage = TokenEstimator().usage(STREAMED, 400, Received(20, 5, told), 1.0)
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (3, 70, 5)
    assert usage.source == UsageSource.USAGE_SOURCE_ESTIMATED


def test_a_final_count_is_no_estimate() -> None:
    told = Usage(source=UsageSource.USAGE_SOURCE_PROVIDER)
    assert TokenEstimator().usage(STREAMED, 400, Received(20, 5, told), 1.0) == told


def test_an_image_counts_the_same_however_large_it_is() -> None:
    small, large = (
        Prompt(
            native=NativeBody(
                api=Api.API_OPENAI_CHAT_COMPLETIONS,
                body=b'{"url":"data:image/png;base64,' + b"A" * size + b'"}',
            )
        )
        for size in (3_000, 3_000_000)
    )
    assert prompt_bytes(small) == prompt_bytes(large) < 4_000
    parts = [ContentPart(image=Image(data=b"x" * 1_000_000)), ContentPart(text="What is it?")]
    chat = Prompt(chat=ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=parts)]))
    assert 3_000 < prompt_bytes(chat) < 4_000


def test_a_provider_that_breaks_streams_off_in_a_row_is_asked_last_for_a_time_that_grows() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, BreakerRules(threshold=100, open_s=5))
    breakers.broken_off("openai")
    assert breakers.available("openai", "a"), "once may be chance"
    breakers.broken_off("openai")
    assert not breakers.available("openai", "a")
    assert not breakers.available("openai", "b"), "whichever of its models it was"
    assert breakers.available("anthropic", "c")
    assert breakers.admit("openai", "a"), "where it is named, or alone, it is asked"
    clock.advance(5)
    assert breakers.available("openai", "a")
    breakers.broken_off("openai")
    clock.advance(5)
    assert not breakers.available("openai", "a"), "the second time it takes twice as long"
    breakers.streamed("openai")
    assert breakers.available("openai", "a")
