"""A conversation stays on its model where switching would cost more than it saves: its prefix is in a prompt cache."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Message, NativeBody, Prompt, Role
from asahi_core.clock import ManualClock
from asahi_router.domain.candidates import Candidate, Known, Limits, weigh
from asahi_router.domain.conversations import Conversations, Prefixes
from asahi_router.domain.features import read_features
from asahi_router.stores.opening import open_outcomes
from bench.conversations import costs
from services.router.tests.decision_rig import BASELINE, BEST, CHEAP, scale, task

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG = "A word about pumps. " * 400


def turns(*texts: str) -> Prompt:
    roles = (Role.ROLE_USER, Role.ROLE_ASSISTANT)
    return Prompt(
        chat=ChatRequest(
            messages=[Message(role=roles[n % 2], parts=[ContentPart(text=text)]) for n, text in enumerate(texts)]
        )
    )


def weighed(model: str, asked: Task, prefixes: Prefixes) -> Candidate:
    at = scale()
    served = at.catalog.find(model)
    assert served is not None
    known = Known(None, prefixes)
    return weigh(served, read_features(asked.prompt), Limits(), at, known)


def test_the_next_question_of_a_conversation_is_known_by_how_it_begins() -> None:
    first, second, other = (
        read_features(turns(*texts)) for texts in ((LONG,), (LONG, "Yes.", "And then?"), ("Hello", "Hi", "And then?"))
    )
    assert first.thread == second.thread != other.thread
    native = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "x"},
    ]
    bodies = [json.dumps({"messages": native[:count]}).encode() for count in (1, 3)]
    threads = {
        read_features(Prompt(native=NativeBody(api=Api.API_OPENAI_CHAT_COMPLETIONS, body=b))).thread for b in bodies
    }
    assert len(threads) == 1


def test_the_model_that_answered_last_is_expected_to_cost_less() -> None:
    asked = task(turns(LONG, "Yes.", "And then?"))
    prefix = {CHEAP: len(LONG)}
    costs = [weighed(model, asked, one).expected_cost_nanos for model in (CHEAP, BASELINE) for one in (prefix, {})]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] < 0.6 * costs[1], "the prefix is read from the provider's cache"
    assert costs[2] == costs[3], "the other model has seen nothing of it"


def test_a_short_prefix_and_one_that_its_provider_keeps_only_when_told_count_for_nothing() -> None:
    short = task(turns("Hello", "Hi", "And then?"))
    assert weighed(CHEAP, short, {CHEAP: 5}) == weighed(CHEAP, short, {})
    long = task(turns(LONG, "Yes.", "And then?"))
    assert weighed(BEST, long, {BEST: len(LONG)}) == weighed(BEST, long, {})


def test_a_prefix_is_forgotten_after_five_minutes_and_never_longer_than_the_question() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    conversations.answered("org", b"thread", CHEAP, 1000)
    assert conversations.prefixes("org", b"thread", 1200) == {CHEAP: 1000}
    assert conversations.prefixes("org", b"thread", 900) == {}
    assert conversations.prefixes("other", b"thread", 1200) == {}
    clock.advance(200)
    conversations.answered("org", b"thread", BASELINE, 1300)
    assert conversations.prefixes("org", b"thread", 1400) == {CHEAP: 1000, BASELINE: 1300}, "each keeps its own"
    clock.advance(101)
    assert conversations.prefixes("org", b"thread", 1400) == {BASELINE: 1300}


def test_conversations_are_bounded() -> None:
    conversations = Conversations(ManualClock(NOW))
    for number in range(20_001):
        conversations.answered("org", number.to_bytes(4), CHEAP, 10)
    assert conversations.prefixes("org", (0).to_bytes(4), 20) == {}
    assert conversations.prefixes("org", (20_000).to_bytes(4), 20) != {}
    for model in "abcdef":
        conversations.answered("org", b"thread", model, 10)
    assert list(conversations.prefixes("org", b"thread", 20)) == ["c", "d", "e", "f"]


def test_how_long_conversations_go_on_is_learned_by_organization() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    assert conversations.further_turns("org", b"new") < 1, "until more is known, a question is likely to be the last"
    for number in range(100):
        for turn in range(20):
            conversations.answered("talks", number.to_bytes(2), CHEAP, 100 + turn)
            conversations.answered("asks", (number * 20 + turn).to_bytes(2), CHEAP, 100)
    assert 15 < conversations.further_turns("talks", b"new") <= 20
    assert 15 < conversations.further_turns("talks", (99).to_bytes(2)) <= 20
    assert conversations.further_turns("asks", b"new") < 0.1
    assert conversations.prefixes("talks", b"new", 5000) == {CHEAP: 0}, (
        "the model that goes on with them has seen nothing"
    )
    assert conversations.prefixes("asks", b"new", 5000) == {}
    assert conversations.further_turns("other", b"new") < 1


def test_a_question_asked_again_and_one_of_long_ago_are_no_further_turns() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    for _ in range(500):
        conversations.answered("org", b"thread", CHEAP, 100)
        clock.advance(1)
    for size in range(500):
        clock.advance(301)
        conversations.answered("org", b"thread", CHEAP, 200 + size)
    assert conversations.further_turns("org", b"new") < 0.1


def test_leaving_the_model_that_answered_last_costs_what_it_will_lack() -> None:
    asked, at = task(turns(LONG, "Yes.", "And then? " * 200)), scale()
    features = read_features(asked.prompt)
    known = Known(None, {BASELINE: 100, CHEAP: len(LONG)}, further_turns=3)
    served = [at.catalog.find(model) for model in (CHEAP, BASELINE)]
    stays, leaves = (weigh(one, features, Limits(), at, known).later_cost_nanos for one in served if one is not None)
    assert stays == 0 < leaves


def test_at_a_first_turn_later_ones_are_weighed_by_what_a_model_asks_for_what_it_has_read() -> None:
    at, features = scale(), read_features(turns(LONG))
    served = at.catalog.find(CHEAP)
    assert served is not None
    none, many = (weigh(served, features, Limits(), at, Known(further_turns=n)) for n in (0.0, 10.0))
    assert none.later_cost_nanos == 0
    assert none.expected_cost_nanos == many.expected_cost_nanos, "what is told is the cost of this question"
    assert 0 < many.later_cost_nanos < 10 * (none.expected_cost_nanos or 0), "most of it is read from the cache"


def test_twenty_turns_cost_less_with_memory_and_hardly_more_than_by_the_best_model_known_afterwards(
    tmp_path: Path,
) -> None:
    with closing(open_outcomes(tmp_path)) as store:
        mixed, alike = (costs(store, 5, quality, 1, []) for quality in (4.6, 4.3))
    assert mixed.held, f"no one model is the cheapest at all that is asked: {mixed}"
    assert alike.router < 0.95 * alike.without_memory, alike
    assert alike.router < 1.05 * alike.best_constant, f"until it is known how conversations go on: {alike}"
