"""A conversation stays on its model where switching would cost more than it saves: its prefix is in a prompt cache."""

import json
from datetime import UTC, datetime

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Message, NativeBody, Prompt, Role
from asahi_core.clock import ManualClock
from asahi_router.domain.candidates import NOTHING_KNOWN, Candidate, Known, Limits, weigh
from asahi_router.domain.conversations import Conversations, Prefix
from asahi_router.domain.features import read_features
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


def weighed(model: str, asked: Task, prefix: Prefix | None) -> Candidate:
    at = scale()
    served = at.catalog.find(model)
    assert served is not None
    known = Known(None, prefix) if prefix else NOTHING_KNOWN
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
    prefix = Prefix(CHEAP, len(LONG))
    costs = [weighed(model, asked, one).expected_cost_nanos for model in (CHEAP, BASELINE) for one in (prefix, None)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] < 0.6 * costs[1], "the prefix is read from the provider's cache"
    assert costs[2] == costs[3], "the other model has seen nothing of it"


def test_a_short_prefix_and_one_that_its_provider_keeps_only_when_told_count_for_nothing() -> None:
    short = task(turns("Hello", "Hi", "And then?"))
    assert weighed(CHEAP, short, Prefix(CHEAP, 5)) == weighed(CHEAP, short, None)
    long = task(turns(LONG, "Yes.", "And then?"))
    assert weighed(BEST, long, Prefix(BEST, len(LONG))) == weighed(BEST, long, None)


def test_a_prefix_is_forgotten_after_five_minutes_and_never_longer_than_the_question() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    conversations.answered("org", b"thread", CHEAP, 1000)
    assert conversations.prefix("org", b"thread", 1200) == Prefix(CHEAP, 1000)
    assert conversations.prefix("org", b"thread", 900) is None
    assert conversations.prefix("other", b"thread", 1200) is None
    clock.advance(301)
    assert conversations.prefix("org", b"thread", 1200) is None


def test_conversations_are_bounded() -> None:
    conversations = Conversations(ManualClock(NOW))
    for number in range(20_001):
        conversations.answered("org", number.to_bytes(4), CHEAP, 10)
    assert conversations.prefix("org", (0).to_bytes(4), 20) is None
    assert conversations.prefix("org", (20_000).to_bytes(4), 20) is not None
