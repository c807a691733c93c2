"""The limit that a policy adds to an answer whose question sets none."""

import json

import pytest

from asahi.type.v1.chat_pb2 import Api, NativeBody, Prompt
from asahi_router.domain.bounds import bounded
from services.router.tests.decision_rig import CHEAP, EXPLICIT, chat, decided, task

_POLICY = {"default_max_output_tokens": 500}


def native(body: object, api: Api.ValueType = Api.API_OPENAI_CHAT_COMPLETIONS) -> Prompt:
    return Prompt(native=NativeBody(api=api, body=json.dumps(body).encode()))


def test_without_a_limit_the_question_stays_as_it_is() -> None:
    prompt = native({"messages": []})
    assert bounded(prompt, 0) is prompt


def test_asahis_own_form_gets_the_limit_and_the_question_itself_does_not_change() -> None:
    prompt = chat("Hello")
    assert bounded(prompt, 100).chat.max_output_tokens == 100
    assert not prompt.chat.HasField("max_output_tokens")


@pytest.mark.parametrize(
    ("api", "name"),
    [(Api.API_OPENAI_CHAT_COMPLETIONS, "max_completion_tokens"), (Api.API_ANTHROPIC_MESSAGES, "max_tokens")],
)
def test_a_providers_form_gets_it_in_its_own_words_and_nulls_give_way(api: Api.ValueType, name: str) -> None:
    asked = {"messages": [{"role": "user", "content": "é"}], "max_tokens": None, "max_completion_tokens": None}
    limited = json.loads(bounded(native(asked, api), 100).native.body)
    assert limited == {"messages": asked["messages"], name: 100}


def test_a_question_that_sets_no_limit_is_weighed_with_the_policys() -> None:
    bound, limited, unlimited = (
        decided(task(prompt, policy, mode=EXPLICIT, model=CHEAP)).chain[0]
        for prompt, policy in ((chat(max_output_tokens=500), None), (chat(), _POLICY), (chat(), None))
    )
    assert limited.max_cost_nanos == bound.max_cost_nanos
    assert limited.max_output_tokens == limited.added_max_output_tokens == 500
    assert (bound.added_max_output_tokens, unlimited.added_max_output_tokens) == (0, 0)
    assert (unlimited.max_cost_nanos or 0) > (limited.max_cost_nanos or 0)


def test_a_questions_own_limit_stays_and_a_models_own_is_not_passed() -> None:
    own = decided(task(chat(max_output_tokens=700), _POLICY, mode=EXPLICIT, model=CHEAP)).chain[0]
    assert (own.max_output_tokens, own.added_max_output_tokens) == (700, 0)
    large = {"default_max_output_tokens": 1_000_000}
    assert decided(task(chat(), large, mode=EXPLICIT, model=CHEAP)).chain[0].added_max_output_tokens == 10_000


def test_a_cost_budget_that_no_whole_answer_keeps_may_be_kept_by_a_limited_one() -> None:
    choice = decided(task(chat(), _POLICY, cost_budget_nanos=10_000_000)).chain[0]
    assert (choice.max_cost_nanos or 0) <= 10_000_000
    assert choice.added_max_output_tokens == 500
