"""`/v1/responses`: answers are kept unless the caller says otherwise, and gone on with by any provider."""

import json
from typing import Any

import pytest
from openai.types.responses import Response

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import ServiceUnavailable
from services.edge.tests.flying import verdict
from services.edge.tests.neighbours import ScriptedCompletion, native_answer
from services.edge.tests.serving import Served, serving

_PATH = "/v1/responses"
_DOWN = ServiceUnavailable("The database of the cache service cannot be reached; try again.", retry_after_s=1.0)
_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 15,
}


def _message(text: str, name: str = "msg_1") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": name, "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _body(*output: dict[str, Any], name: str = "resp_1", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-4o-mini",
        "output": list(output) or [_message("42")],
        "usage": _USAGE,
        **more,
    }


def _keeping(days: int = 30) -> Verdict:
    said = verdict()
    said.policy.cache.tiers.append(1)
    said.policy.cache.ttl_seconds = 3600
    said.policy.retention.responses_days = days
    return said


def _answers(served: Served, *bodies: dict[str, Any], events: tuple[dict[str, Any], ...] = ()) -> None:
    """Each call is answered with the next body."""
    left = list(bodies)

    def script(call: ScriptedCompletion) -> None:
        call.decide()
        call.announce()
        for told in events:
            call.pass_on(AnswerDelta(event_json=json.dumps(told).encode()))
        call.complete(native_answer(json.dumps(left.pop(0)).encode()))

    served.rig.router.script = script


def _asked(served: Served, number: int = -1) -> dict[str, Any]:
    """The body that the router was given."""
    found: dict[str, Any] = json.loads(served.rig.router.calls[number].task.prompt.native.body)
    return found


def _events(text: str) -> list[dict[str, Any]]:
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    return [json.loads(lines[-1].removeprefix("data: ")) for lines in blocks]


async def test_an_answer_is_kept_as_it_was_told_and_read_again() -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body())
        told = (await served.ask(_PATH, {"input": "What is 6 × 7?", "user": "ada"})).json()
        again = await served.client.get(f"{_PATH}/{told['id']}")
        kept = served.kept.kept["org-1", told["id"]]
    Response.model_validate(told)
    assert (told["store"], told["previous_response_id"], told["user"]) == (True, None, "ada")
    assert again.json() == told
    assert (kept.keep_s, kept.user_id) == (30 * 86_400, "ada")
    assert json.loads(kept.input_json) == [{"role": "user", "content": "What is 6 × 7?"}]


@pytest.mark.parametrize(("days", "store"), [(30, False), (0, None), (0, True)])
async def test_nothing_is_kept_where_the_caller_or_the_policy_says_so(days: int, store: bool | None) -> None:
    async with serving() as served:
        served.auth.says = _keeping(days)
        _answers(served, _body())
        told = await served.ask(_PATH, {"input": "What is 6 × 7?", "store": store})
        again = await served.client.get(f"{_PATH}/{told.json()['id']}")
    assert told.json()["store"] is False
    assert "x-asahi-degraded" not in told.headers
    assert again.status_code == 404
    assert served.kept.kept == {}


async def test_what_was_said_before_goes_to_the_model_with_what_is_asked_now_and_nothing_of_how_it_is_kept() -> None:
    call = {
        "id": "fc_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
    }
    sealed = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x"}
    unsealed = {"id": "rs_2", "type": "reasoning", "summary": []}
    unknown = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    result = {"type": "function_call_output", "call_id": "c", "output": "Sunny."}
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body(sealed, unsealed, _message("Wait."), call, unknown), _body(name="resp_2"), _body())
        await served.ask(_PATH, {"input": "Rome?", "instructions": "Be brief.", "temperature": 0.50})
        second = await served.ask(_PATH, {"previous_response_id": "resp_1", "input": [result], "top_p": 1.0})
        asked = _asked(served)
        await served.ask(_PATH, {"previous_response_id": "resp_2", "input": "Thanks.", "store": False})
        third = _asked(served)
    said = {"type": "message", "role": "assistant", "content": _message("Wait.")["content"]}
    again = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    conversation = [{"role": "user", "content": "Rome?"}, sealed, said, again, unknown, result]
    assert asked == {"input": conversation, "top_p": 1.0}
    assert second.json()["previous_response_id"] == "resp_1"
    assert third["input"][:6] == conversation
    assert third["input"][-1] == {"role": "user", "content": "Thanks."}
    assert "store" not in third


async def test_equal_conversations_are_equal_questions_whatever_their_responses_are_called() -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body(), _body(_message("Yes.", "msg_2"), name="resp_2"))
        first = await served.ask(_PATH, {"input": "What is 6 × 7?"})
        hit = await served.ask(_PATH, {"input": "What is 6 × 7?"})
        assert hit.headers["x-asahi-cache"] == "hit; tier=1"
        assert hit.json()["id"] != first.json()["id"]
        sure = {"input": "Sure?", "previous_response_id": first.json()["id"]}
        await served.ask(_PATH, sure)
        other = await served.ask(_PATH, {**sure, "previous_response_id": hit.json()["id"]})
    assert other.headers["x-asahi-cache"] == "hit; tier=1"
    assert other.json()["previous_response_id"] == hit.json()["id"]
    assert len(served.kept.kept) == 4


@pytest.mark.parametrize("stream", [False, True])
async def test_going_on_with_what_is_not_kept_or_not_ones_own_is_told_in_openais_words(stream: bool) -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body())
        await served.ask(_PATH, {"input": "What is 6 × 7?"})
        served.kept.kept["org-2", "resp_1"] = served.kept.kept.pop(("org-1", "resp_1"))
        refused = await served.ask(_PATH, {"input": "Sure?", "previous_response_id": "resp_1", "stream": stream})
        read = await served.client.get(f"{_PATH}/resp_1")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (404, "not_found", "previous_response_id")
    assert error["message"] == "Previous response with id 'resp_1' not found."
    assert read.json()["error"]["message"] == "Response with id 'resp_1' not found."


async def test_without_the_store_answers_are_given_and_say_that_they_are_not_kept() -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body(), _body())
        served.kept.failure = _DOWN
        plain = await served.ask(_PATH, {"input": "What is 6 × 7?"})
        streamed = await served.ask(_PATH, {"input": "What is 6 × 7?", "stream": True})
        needing = await served.ask(_PATH, {"input": "Sure?", "previous_response_id": "resp_1"})
        unkept = await served.ask(_PATH, {"input": "What is 6 × 7?", "store": False})
        paths = [
            await served.client.request(method, f"{_PATH}/resp_1{more}")
            for method, more in (("GET", ""), ("GET", "/input_items"), ("DELETE", ""))
        ]
    assert (plain.status_code, plain.json()["store"]) == (200, False)
    assert plain.headers["x-asahi-degraded"] == "stored_responses"
    assert streamed.headers["x-asahi-degraded"] == "stored_responses"
    assert _events(streamed.text)[-1]["response"]["store"] is False
    assert "x-asahi-degraded" not in unkept.headers
    for refused in (needing, *paths):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert "retry-after" in refused.headers


async def test_a_stream_is_kept_before_its_last_event_with_the_id_that_it_began_with() -> None:
    opening = _body(output=[], status="in_progress", usage=None)
    events = (
        {"type": "response.created", "response": opening, "sequence_number": 0, "x_unknown": [1]},
        {"type": "response.output_text.delta", "delta": "42", "sequence_number": 1},
        {"type": "response.completed", "response": _body(), "sequence_number": 2},
    )
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body(), events=events)
        told = _events((await served.ask(_PATH, {"input": "What is 6 × 7?", "stream": True})).text)
        kept = served.kept.body("resp_1")
        replayed = _events((await served.ask(_PATH, {"input": "What is 6 × 7?", "stream": True})).text)
        again = _events((await served.client.get(f"{_PATH}/resp_1", params={"stream": "true"})).text)
        rest = await served.client.get(f"{_PATH}/resp_1", params={"stream": "true", "starting_after": 3})
    assert [event["type"] for event in told] == [event["type"] for event in events]
    assert told[0]["x_unknown"] == [1]
    assert told[0]["response"]["store"] is True
    assert told[-1]["response"] == kept
    assert replayed[0]["response"]["id"] == replayed[-1]["response"]["id"] != "resp_1"
    assert ("org-1", replayed[-1]["response"]["id"]) in served.kept.kept
    assert again[-1]["response"] == kept
    assert [event["sequence_number"] for event in again] == list(range(len(again)))
    assert _events(rest.text) == again[4:]


async def test_a_providers_own_answer_stays_as_it_is_but_for_what_is_asahis_to_say() -> None:
    own: dict[str, Any] = {
        "instructions": "As the provider tells them.",
        "temperature": 0.7,
        "tools": [{"type": "function", "name": "f", "strict": True}],
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "x_unknown": {"kept": [1.0, 12345678901234567890123]},
        "service_tier": "flex",
        "store": True,
        "metadata": {"a": "b"},
    }
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body(**own))
        told = await served.ask(_PATH, {"input": "Hi", "temperature": 0.2, "metadata": {"a": "b"}})
        hit = (await served.ask(_PATH, {"input": "Hi", "temperature": 0.2, "metadata": {"c": "d"}})).json()
    body = told.json()
    assert {name: body[name] for name in own} == own
    assert "12345678901234567890123" in told.text
    assert {**hit, "id": 0, "created_at": 0, "asahi": 0} == {
        **body, "id": 0, "created_at": 0, "asahi": 0, "metadata": {"c": "d"},
    }  # fmt: skip


async def test_input_items_are_paged_and_bear_ids_that_stay() -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body(_message("One.")), _body(_message("Two.", "msg_2"), name="resp_2"))
        await served.ask(_PATH, {"input": "Count."})
        more = [{"role": "assistant", "content": "Hm."}, {"id": "msg_own", "role": "user", "content": []}]
        await served.ask(_PATH, {"input": more, "previous_response_id": "resp_1"})
        path = f"{_PATH}/resp_2/input_items"
        whole = (await served.client.get(path, params={"order": "asc"})).json()
        newest = (await served.client.get(path, params={"limit": 3})).json()
        rest = (await served.client.get(path, params={"limit": 3, "after": newest["last_id"]})).json()
        lost = await served.client.get(path, params={"after": "msg_unknown"})
        wrong = [await served.client.get(path, params=query) for query in ({"limit": 101}, {"order": "up"})]
    ids = [item["id"] for item in whole["data"]]
    assert ids == ["msg_1_in0", "msg_1", "msg_2_in0", "msg_own"]
    assert [item["content"] for item in whole["data"]] == [
        [{"type": "input_text", "text": "Count."}],
        _message("One.")["content"],
        [{"type": "output_text", "text": "Hm.", "annotations": []}],
        [],
    ]
    assert [item["id"] for item in newest["data"] + rest["data"]] == ids[::-1]
    assert (newest["has_more"], rest["has_more"]) == (True, False)
    assert (newest["first_id"], newest["last_id"]) == (ids[3], ids[1])
    assert (lost.status_code, lost.json()["error"]["param"]) == (404, "after")
    assert [answer.status_code for answer in wrong] == [400, 400]


async def test_a_dropped_response_is_gone() -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body())
        await served.ask(_PATH, {"input": "What is 6 × 7?"})
        dropped = await served.client.delete(f"{_PATH}/resp_1")
        again = await served.client.delete(f"{_PATH}/resp_1")
    assert dropped.json() == {"id": "resp_1", "object": "response", "deleted": True}
    assert again.status_code == 404


@pytest.mark.parametrize(("name", "value"), [("background", True), ("conversation", "conv_1"), ("conversation", {})])
async def test_state_that_only_a_providers_account_would_have_is_refused(name: str, value: Any) -> None:
    async with serving() as served:
        refused = await served.ask(_PATH, {"input": "Hi", name: value})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported_by_model", name)


async def test_an_idempotent_request_is_kept_once_and_repeated_with_its_id() -> None:
    async with serving() as served:
        served.auth.says = _keeping()
        _answers(served, _body())
        told = [await served.ask(_PATH, {"input": "Hi"}, idempotency_key="once") for _ in range(2)]
    assert told[0].content == told[1].content
    assert list(served.kept.kept) == [("org-1", "resp_1")]
