"""OpenAI's SDK at `/v1/responses`, answered by providers of both protocols: plain, streamed, cached, parsed."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, PermissionDeniedError
from openai.types.responses import Response
from pydantic import BaseModel

from tests.conformance.conftest import NewKey
from tests.conformance.openai_cases import TOOLS as CHAT_TOOLS
from tests.conformance.places import Place

Question = dict[str, Any]
MODELS = ("gpt-4.1-nano", "claude-haiku-4-5")
_TOOLS: list[Any] = [{"type": "function", "strict": None, **tool["function"]} for tool in CHAT_TOOLS]
_PNG = "data:image/png;base64,iVBORw0KGgo="


def _said(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


_CALL = {"type": "function_call", "call_id": "call_1", "name": "forecast", "arguments": '{"city":"Rome","days":2}'}
_CASES: dict[str, dict[str, Any]] = {
    "a text": {"input": "How do I plan a small garden?"},
    "unicode": {"input": 'Wie heißt 日本 auf Français? 😀 \\ " \n\t'},
    "instructions": {"input": "What is a river?", "instructions": "Be brief."},
    "several turns": {
        "input": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Count."},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "One."}]},
            {"role": "user", "content": "And then?"},
        ]
    },
    "an image": {
        "input": _said(
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": _PNG, "detail": "auto"},
        )
    },
    "sampling": {"input": "Pick a number.", "temperature": 0.3, "top_p": 0.9},
    "a short limit": {"input": "Tell me of the sea.", "max_output_tokens": 7},
    "labels": {"input": "Who am I?", "metadata": {"a": "b"}, "user": "ann", "store": False},
    "a schema": {
        "input": "Plan a trip.",
        "text": {"format": {"type": "json_schema", "name": "trip", "schema": CHAT_TOOLS[0]["function"]["parameters"]}},
    },
    "tools that are not called": {"input": "What is rain?", "tools": _TOOLS},
    "tools called at once": {"input": "Use forecast and journey.", "tools": _TOOLS},
    "some tool": {"input": "Where to?", "tools": _TOOLS, "tool_choice": "required"},
    "a named tool": {
        "input": "And how?",
        "tools": _TOOLS,
        "tool_choice": {"type": "function", "name": "journey"},
    },
    "no tool": {"input": "Use forecast.", "tools": _TOOLS, "tool_choice": "none"},
    "a result": {
        "input": [
            {"role": "user", "content": "Rome?"},
            _CALL,
            {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."},
        ],
        "tools": _TOOLS,
    },
}
_NEW = {"cache-control": "no-cache"}
_EVERY_TIME = {"id", "created_at", "completed_at", "asahi", "item_id", "call_id", "parsed", "parsed_arguments"}


def _seen(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _seen(item) for name, item in value.items() if name not in _EVERY_TIME}
    return [_seen(item) for item in value] if isinstance(value, list) else value


def _told(response: Response) -> Any:
    """What its user sees, with the types; what the SDK's helpers add is left out."""
    seen = _seen(response.to_dict(mode="json"))
    return {"types": [type(item).__name__.partition("[")[0] for item in response.output], **seen}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", _CASES)
def test_a_response_is_the_same_plain_streamed_and_cached(case: str, model: str, asahi: Place) -> None:
    question = {"model": model, **_CASES[case]}
    with asahi.openai() as sdk:
        with sdk.responses.stream(**question, extra_headers=_NEW) as stream:
            new: list[Any] = list(stream)
        plain = sdk.responses.create(**question)
        cached = sdk.responses.with_raw_response.create(**question)
        with sdk.responses.stream(**question) as stream:
            replayed: list[Any] = list(stream)
    Response.model_validate(plain.to_dict())
    ended = "response.incomplete" if case == "a short limit" else "response.completed"
    for events in (new, replayed):
        types = [event.type for event in events]
        assert (types[:2], types[-1]) == (["response.created", "response.in_progress"], ended)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert _said_in(events[-1].response) == _said_in(plain)
    assert _told(cached.parse()) == _told(plain)
    assert cached.headers["x-asahi-cache"] == ("miss" if case == "a short limit" else "hit; tier=1")
    assert plain.usage is not None
    assert plain.usage.total_tokens == plain.usage.input_tokens + plain.usage.output_tokens
    assert plain.metadata == _CASES[case].get("metadata", {})
    if case == "a short limit":
        assert plain.incomplete_details is not None
        assert (plain.status, plain.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def _said_in(response: Any) -> Any:
    return [
        (item.type, item.name, item.arguments) if item.type == "function_call" else (item.type, item.content[0].text)
        for item in response.output
    ]


class _Trip(BaseModel):
    city: str
    days: int


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_is_parsed_into_the_users_own_type(model: str, asahi: Place) -> None:
    with asahi.openai() as sdk:
        parsed = sdk.responses.parse(model=model, input="Plan a trip to Rome.", text_format=_Trip)
    assert isinstance(parsed.output_parsed, _Trip)


@pytest.mark.parametrize("model", MODELS)
def test_a_loop_of_tools_goes_on_with_what_the_model_said(model: str, asahi: Place) -> None:
    async def loop() -> str:
        async with asahi.async_openai() as sdk:
            conversation: list[Any] = [{"role": "user", "content": "Use forecast and journey."}]
            first = await sdk.responses.create(model=model, input=conversation, tools=_TOOLS)
            conversation += first.output
            calls = [item for item in first.output if item.type == "function_call"]
            assert {call.name for call in calls} <= {"forecast", "journey"}
            assert calls
            conversation += [
                {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."} for call in calls
            ]
            return (await sdk.responses.create(model=model, input=conversation, tools=_TOOLS)).output_text

    assert asyncio.run(loop())


def test_an_effort_is_carried_to_a_model_that_thinks(asahi: Place) -> None:
    with asahi.openai() as sdk:
        thought = sdk.responses.create(model="gpt-6-luna", input="Think.", reasoning={"effort": "low"})
    assert thought.usage is not None
    assert thought.usage.output_tokens_details.reasoning_tokens > 0
    assert thought.reasoning is not None
    assert thought.reasoning.effort == "low"


_NATIVE = "gpt-4.1-nano"
_SEARCH: dict[str, Any] = {"input": "Use web_search, please.", "tools": [{"type": "web_search"}]}
_PASSED: dict[str, dict[str, Any]] = {
    "a field that nobody knows": {"input": "Hi", "extra_body": {"some_new_field": {"deep": [1]}}},
    "a tool that the provider runs": _SEARCH,
    "thoughts": {"model": "gpt-6-luna", "input": "Think.", "reasoning": {"effort": "low"}},
    "items that only its protocol has": {
        "input": [
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "x"},
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
            {"role": "user", "content": [{"type": "input_file", "file_data": "data:text/plain;base64,eA=="}]},
        ]
    },
    **_CASES,
}


def _created(at: Place, question: Question) -> Any:
    with at.openai() as sdk:
        return _told(sdk.responses.create(**question))


def _raw(at: Place, question: Question) -> Any:
    with at.openai() as sdk:
        raw = sdk.responses.with_raw_response.create(**question)
        return raw.status_code, raw.headers["content-type"], _told(raw.parse())


def _events(at: Place, question: Question) -> Any:
    with at.openai() as sdk, sdk.responses.create(**question, stream=True) as stream:
        return [(type(event).__name__, _seen(event.to_dict(mode="json"))) for event in stream]


def _helped(at: Place, question: Question) -> Any:
    with at.openai() as sdk, sdk.responses.stream(**question) as stream:
        return _told(stream.get_final_response())


def _created_async(at: Place, question: Question) -> Any:
    async def create() -> Any:
        async with at.async_openai() as sdk:
            return _told(await sdk.responses.create(**question))

    return asyncio.run(create())


def _events_async(at: Place, question: Question) -> Any:
    async def stream() -> Any:
        async with at.async_openai() as sdk:
            events = await sdk.responses.create(**question, stream=True)
            return [(type(event).__name__, _seen(event.to_dict(mode="json"))) async for event in events]

    return asyncio.run(stream())


_WAYS: dict[str, Callable[[Place, Question], Any]] = {
    "created": _created,
    "with headers": _raw,
    "by events": _events,
    "by the stream's helper": _helped,
    "created asynchronously": _created_async,
    "by events, asynchronously": _events_async,
}
_WHOLE = [way for way in _WAYS if "events" not in way]
"""Ways that end with all of the answer: of a cached one its user sees no other pieces."""
_NEVER_KEPT = {"a short limit", "a tool that the provider runs"}


_ASKED = [
    (case, way) for case in _PASSED for way in _WAYS if (case, way) != ("a short limit", "by the stream's helper")
]
"""The helper raises for an answer that is cut short, whoever gave it."""


@pytest.mark.parametrize(("case", "way"), _ASKED)
def test_a_provider_that_speaks_responses_answers_as_if_it_were_asked_directly(
    case: str, way: str, direct: Place, asahi: Place
) -> None:
    question = {"model": _NATIVE, **_PASSED[case]}
    assert _WAYS[way](asahi, question) == _WAYS[way](direct, question)


@pytest.mark.parametrize("way", _WHOLE)
@pytest.mark.parametrize("case", [case for case in _PASSED if case not in _NEVER_KEPT])
def test_an_answer_of_the_cache_is_what_the_provider_says(case: str, way: str, direct: Place, asahi: Place) -> None:
    question = {"model": _NATIVE, **_PASSED[case]}
    wanted = _WAYS[way](direct, question)
    _WAYS[way](asahi, question)
    assert _WAYS[way](asahi, question) == wanted
    with asahi.openai() as sdk:
        again = sdk.responses.with_raw_response.create(**question)
    assert again.headers["x-asahi-cache"] == "hit; tier=1"


@pytest.mark.parametrize("from_cache", [False, True], ids=["miss", "hit"])
@pytest.mark.parametrize("way", ["parsed", "parsed asynchronously", "parsed from a stream"])
def test_what_is_parsed_is_what_the_provider_says(way: str, from_cache: bool, direct: Place, asahi: Place) -> None:
    question: Question = {"model": _NATIVE, "input": "Plan a trip to Rome.", "text_format": _Trip}

    async def parse_async(at: Place) -> Any:
        async with at.async_openai() as sdk:
            return (await sdk.responses.parse(**question)).output_parsed

    def parse(at: Place) -> Any:
        if way == "parsed asynchronously":
            return asyncio.run(parse_async(at))
        with at.openai() as sdk:
            if way == "parsed":
                return sdk.responses.parse(**question).output_parsed
            with sdk.responses.stream(**question) as stream:
                return stream.get_final_response().output_parsed

    if from_cache:
        parse(asahi)
    found = parse(asahi)
    assert isinstance(found, _Trip)
    assert found == parse(direct)


def test_what_the_providers_own_tools_found_is_not_kept_for_others_and_goes_along(asahi: Place) -> None:
    with asahi.openai() as sdk:
        first = sdk.responses.create(model=_NATIVE, **_SEARCH)
        again = sdk.responses.with_raw_response.create(model=_NATIVE, **_SEARCH)
        assert [item.type for item in first.output] == ["web_search_call"]
        second = sdk.responses.create(model=_NATIVE, input="Thanks.", previous_response_id=first.id)
        types = [item.type for item in sdk.responses.input_items.list(second.id, order="asc")]
        with pytest.raises(BadRequestError) as refused:
            sdk.responses.create(model="claude-haiku-4-5", input="Thanks.", previous_response_id=first.id)
    assert again.headers["x-asahi-cache"] == "miss"
    assert types == ["message", "web_search_call", "message"]
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", "input[1]")


def test_tools_whose_cost_is_not_known_are_refused_where_a_budget_blocks(new_key: NewKey) -> None:
    place = new_key(budgets=[{"per": "key", "window": "day", "limit_usd": 5, "action": "block"}])
    with place.openai() as sdk, pytest.raises(PermissionDeniedError) as refused:
        sdk.responses.create(model=_NATIVE, **_SEARCH)
    assert (refused.value.code, refused.value.param) == ("price_unknown", "tools[0]")


def test_asahi_chooses_among_those_who_can_be_told_all_that_is_asked(asahi: Place) -> None:
    with asahi.openai() as sdk:
        for quality in ("low", "medium", "high"):
            found = sdk.responses.create(model=f"asahi/{quality}", **_SEARCH).to_dict()
            assert str(found["model"]).startswith("gpt-")


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("claude-haiku-4-5", {"extra_body": {"some_new_field": 1}}, "some_new_field"),
        ("gpt-4.1-nano", {"conversation": "conv_1"}, "conversation"),
        ("gpt-4.1-nano", {"background": True}, "background"),
        ("claude-haiku-4-5", {"tools": [{"type": "web_search"}]}, "tools[0]"),
        ("claude-haiku-4-5", {"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ("claude-haiku-4-5", {"reasoning": {"effort": "low"}}, "reasoning"),
        ("claude-haiku-4-5", {"text": {"verbosity": "low"}}, "text.verbosity"),
        ("claude-haiku-4-5", {"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ("claude-haiku-4-5", {"input": _said({"type": "input_file", "file_id": "f"})}, "input[0].content[0]"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_its_name(
    model: str, fields: dict[str, Any], param: str, asahi: Place
) -> None:
    with asahi.openai() as sdk, pytest.raises(BadRequestError) as refused:
        sdk.responses.create(**{"model": model, "input": "Hello", **fields})
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", param)


def _ids(items: Iterable[Any]) -> list[str]:
    return [item.id for item in items]


@pytest.mark.parametrize("model", MODELS)
def test_a_conversation_goes_on_from_what_is_kept_with_whatever_model(model: str, asahi: Place) -> None:
    other = next(one for one in MODELS if one != model)
    with asahi.openai() as sdk:
        first = sdk.responses.create(model=model, input="Use forecast and journey.", tools=_TOOLS)
        calls = [item for item in first.output if item.type == "function_call"]
        results: list[Any] = [{"type": "function_call_output", "call_id": c.call_id, "output": "Sunny."} for c in calls]
        assert calls
        second = sdk.responses.create(model=other, input=results, previous_response_id=first.id, tools=_TOOLS)
        with sdk.responses.stream(model=model, input="Thanks.", previous_response_id=second.id) as stream:
            third = stream.until_done().get_final_response()
        whole: list[Any] = [{"role": "user", "content": "Use forecast and journey."}, *first.output, *results]
        same = sdk.responses.with_raw_response.create(model=other, input=whole, tools=_TOOLS)
        kept = sdk.responses.retrieve(third.id)
        items = list(sdk.responses.input_items.list(third.id, limit=2, order="asc"))
        newest = list(sdk.responses.input_items.list(third.id))
    assert second.output_text
    assert second.usage is not None
    assert second.usage.input_tokens == _usage(same.parse()).input_tokens
    assert (kept.id, kept.output_text, kept.usage) == (third.id, third.output_text, third.usage)
    assert kept.previous_response_id == second.id
    assert _ids(items) == _ids(reversed(newest))
    said = [item.id for item in (*first.output, *second.output)]
    assert [name for name in _ids(items) if name in said] == said
    assert len(items) == 2 + len(results) + len(said)


def _usage(response: Response) -> Any:
    assert response.usage is not None
    return response.usage


def test_a_kept_response_is_streamed_again_and_dropped(asahi: Place) -> None:
    async def read() -> None:
        async with asahi.async_openai() as sdk:
            told = await sdk.responses.create(model=MODELS[0], input="What is kept?")
            events = [event async for event in await sdk.responses.retrieve(told.id, stream=True)]
            assert events[-1].type == "response.completed"
            assert events[-1].response.to_dict() == told.to_dict()
            await sdk.responses.delete(told.id)
            for act in (sdk.responses.retrieve, sdk.responses.delete, sdk.responses.input_items.list):
                with pytest.raises(NotFoundError):
                    await act(told.id)
            with pytest.raises(NotFoundError) as lost:
                await sdk.responses.create(model=MODELS[0], input="And then?", previous_response_id=told.id)
            assert lost.value.param == "previous_response_id"
            unkept = await sdk.responses.create(model=MODELS[0], input="What is not kept?", store=False)
            assert unkept.to_dict()["store"] is False
            with pytest.raises(NotFoundError):
                await sdk.responses.retrieve(unkept.id)

    asyncio.run(read())
