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
from asahi_router.domain.decision import _guarded
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


def test_a_provider_that_keeps_prompts_on_request_is_asked_where_the_next_turn_is_likely_to_come() -> None:
    long = task(turns(LONG, "Yes.", "And then?")).prompt
    at, served = scale(), scale().catalog.find(BEST)
    assert served is not None
    often, seldom = (Known(None, {}, further_turns=2, again={BEST: share}) for share in (0.5, 0.2))
    keeps = [weigh(served, read_features(long), Limits(), at, known).keeps_prompt for known in (often, seldom)]
    assert keeps == [True, False]
    marked, short = turns(LONG, "Yes.", "And then?"), turns("Hello", "Hi", "And then?")
    marked.chat.cache_prefix = True
    for other in (marked, short):
        assert not weigh(served, read_features(other), Limits(), at, often).keeps_prompt
    assert not weigh(served, read_features(long), Limits(), at).keeps_prompt, "a model that the caller named"
    read = Known(None, {BEST: len(LONG)}, further_turns=2, again={BEST: 0.5})
    written, later = (weigh(served, read_features(long), Limits(), at, known) for known in (often, read))
    assert (later.expected_cost_nanos or 0) < 0.5 * (written.expected_cost_nanos or 0)


def test_what_a_provider_was_not_asked_to_keep_is_no_prefix() -> None:
    conversations = Conversations(ManualClock(NOW))
    conversations.answered("org", b"thread", BEST, 1000, kept=False)
    assert conversations.prefixes("org", b"thread", 1200) == {BEST: 0}


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


def expected_turns(conversations: Conversations, organization: str, turn: int = 1) -> float:
    return conversations.outlook(organization, {}, turn)[0]


def test_how_long_conversations_go_on_is_learned_by_organization() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    assert 1 < expected_turns(conversations, "org") < 2, "until more is known, as public conversations do"
    for number in range(100):
        for turn in range(20):
            conversations.answered("talks", number.to_bytes(2), CHEAP, 100 + turn)
            conversations.answered("asks", (number * 20 + turn).to_bytes(2), CHEAP, 100)
    assert 15 < expected_turns(conversations, "talks") <= 20
    assert expected_turns(conversations, "asks") < 0.1
    assert 1 < expected_turns(conversations, "other") < 2


def test_a_question_with_turns_before_it_is_expected_to_go_on_though_nobody_here_saw_them() -> None:
    conversations = Conversations(ManualClock(NOW))
    assert read_features(turns(LONG, "Yes.", "And then?")).turn == 2
    assert expected_turns(conversations, "org", turn=2) > 1.5 * expected_turns(conversations, "org")


def test_a_model_counts_by_how_likely_it_is_to_be_asked_again_before_its_provider_forgets() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    assert conversations.outlook("org", {}, 1)[1] == {}, "nobody knows yet who goes on with conversations"
    for number in range(50):
        for turn in range(10):
            clock.advance(30)
            model = CHEAP if turn % 5 else BASELINE
            conversations.answered("org", number.to_bytes(2), model, 100 + turn)
    often = conversations.outlook("org", {}, 1)[1]
    assert often[CHEAP] > 0.9
    assert often[BASELINE] < 0.4
    last = conversations.outlook("org", {BASELINE: 5}, 2)[1]
    assert last[BASELINE] > often[BASELINE], "the one that answered last is likelier to go on"
    for number in range(50, 100):
        for turn in range(10):
            clock.advance(290)
            conversations.answered("org", number.to_bytes(2), CHEAP if turn % 5 else BASELINE, 100 + turn)
    assert conversations.outlook("org", {}, 1)[1][BASELINE] < 0.2, "it is forgotten before it is asked again"


def test_a_question_asked_again_and_one_of_long_ago_are_no_further_turns() -> None:
    clock = ManualClock(NOW)
    conversations = Conversations(clock)
    for _ in range(500):
        conversations.answered("org", b"thread", CHEAP, 100)
        clock.advance(1)
    for size in range(500):
        clock.advance(301)
        conversations.answered("org", b"thread", CHEAP, 200 + size)
    assert expected_turns(conversations, "org") < 0.15


def test_what_a_model_reads_first_is_worth_what_later_turns_need_not_pay_for_it() -> None:
    asked, at = task(turns(LONG, "Yes.", "And then? " * 200)), scale()
    features = read_features(asked.prompt)
    again = {BASELINE: 0.5, CHEAP: 0.0}
    known = Known(None, {BASELINE: 100, CHEAP: len(LONG)}, further_turns=3, again=again)
    served = [at.catalog.find(model) for model in (CHEAP, BASELINE)]
    never, half = (weigh(one, features, Limits(), at, known).later_cost_nanos for one in served if one is not None)
    assert never == 0 > half
    twice = Known(None, known.prefixes, further_turns=3, again={BASELINE: 1.0})
    assert served[1] is not None
    assert weigh(served[1], features, Limits(), at, twice).later_cost_nanos == 2 * half


def test_at_the_first_turn_of_all_the_mean_of_later_ones_is_weighed_which_read_from_the_cache() -> None:
    at, features = scale(), read_features(turns(LONG))
    served = at.catalog.find(CHEAP)
    assert served is not None
    none, many = (weigh(served, features, Limits(), at, Known(further_turns=n)) for n in (0.0, 10.0))
    assert none.later_cost_nanos == 0
    assert none.expected_cost_nanos == many.expected_cost_nanos, "what is told is the cost of this question"
    assert 0 < many.whole_cost_nanos < 0.9 * (none.expected_cost_nanos or 0)


def test_where_outcomes_decide_the_guard_looks_at_what_later_turns_cost_too() -> None:
    costs_seen: list[dict[str, float]] = []

    class Evidence:
        def judge(self, costs: dict[str, float]) -> None:
            costs_seen.append(costs)

    at, asked = scale(), task(turns(LONG, "Yes.", "And then?"))
    features = read_features(asked.prompt)
    for again in ({CHEAP: 1.0}, {BASELINE: 1.0}):
        known = Known(None, {}, further_turns=3, again=again)
        candidates = [weigh(served, features, Limits(), at, known) for served in at.catalog.models]
        reference = next(c for c in candidates if c.model == BASELINE)
        assert _guarded(candidates, reference, Evidence(), None) is None  # type: ignore[arg-type]
    assert costs_seen[0][CHEAP] < costs_seen[1][CHEAP]
    assert costs_seen[0][BASELINE] > costs_seen[1][BASELINE]


def test_twenty_turns_cost_no_more_with_memory_than_without_and_than_by_the_best_model_known_afterwards(
    tmp_path: Path,
) -> None:
    with closing(open_outcomes(tmp_path)) as store:
        for quality in (4.3, 4.6):
            told = costs(store, 5, quality, 1, [])
            assert told.router <= min(told.best_constant, told.without_memory), f"quality {quality}: {told}"
