"""What callers send by mistake or on purpose: a clear error, never a 5xx; nothing is stored, nothing billed."""

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization
from tests.ledger import call_records
from tests.surface.rows import CHAT, INFER, LIMIT, MESSAGES, PATHS, RESPONSES

GOOD: dict[str, dict[str, Any]] = {
    INFER: {"prompt": "hi"},
    CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    MESSAGES: {"messages": [{"role": "user", "content": "hi"}]},
    RESPONSES: {"input": "hi"},
}
DEEP = 10_000


def body(path: str, more: str) -> bytes:
    """A good body with `more` members at its end, as it is written."""
    bound = ', "max_tokens": 5' if path == MESSAGES and "max_tokens" not in more else ""
    return (json.dumps(GOOD[path])[:-1] + bound + _named(path, more) + "}").encode()


def _named(path: str, text: str) -> str:
    """`text` with the limit of tokens as the path calls it."""
    return text.replace("max_tokens", LIMIT.get(path, "max_tokens"))


def wrong(*, says: str, more: str = "", raw: bytes | None = None, status: int = 400, param: str | None = None) -> Any:
    """A body that is refused: `more` is appended to a good one, `raw` replaces it."""
    return pytest.param(more, raw, status, says, param)


BODIES = {
    "nothing": wrong(raw=b"", says="The body is empty"),
    "no JSON": wrong(raw=b"prompt=hi", says="not valid JSON: Expecting value: line 1 column 1"),
    "JSON that ends too early": wrong(raw=b'{"prompt": "hi"', says="line 1 column 16"),
    "a comma too many": wrong(more=",", says="not valid JSON"),
    "a list": wrong(raw=b'["hi"]', says="must be a JSON object, in braces; it is a list"),
    "a text": wrong(raw=b'"hi"', says="it is a text"),
    "null": wrong(raw=b"null", says="it is null"),
    "bad UTF-8": wrong(raw=b'{"prompt": "\xff\xfe"}', says="a text in it is not UTF-8"),
    "half a surrogate pair": wrong(more=r', "user": "\ud800"', says="surrogate"),
    "NaN": wrong(more=', "temperature": NaN', says="NaN"),
    "infinity": wrong(more=', "temperature": Infinity', says="NaN, a number out of range"),
    "a number beyond floats": wrong(more=', "temperature": 1e999', says="a number out of range"),
    "a number of 5 000 digits": wrong(more=f', "seed": {"9" * 5000}', says="Integer value out of range"),
    "a limit of 400 digits": wrong(more=f', "max_tokens": {"9" * 400}', says="max_tokens", param="max_tokens"),
    "no tokens": wrong(more=', "max_tokens": 0', says=">= 1", param="max_tokens"),
    "lists in lists": wrong(more=f', "x": {"[" * DEEP}{"]" * DEEP}', says="more than 128 levels deep"),
    "objects in objects": wrong(more=', "x": ' + '{"x": ' * DEEP + "1" + "}" * DEEP, says="more than 128 levels deep"),
    "lists a little too deep": wrong(more=f', "x": {"[" * 128}{"]" * 128}', says="more than 128 levels deep"),
    "a name twice": wrong(more=', "seed": 1, "seed": 2', says="the field 'seed' twice", param="seed"),
    "a name twice, further in": wrong(more=', "x": [{"a": 1, "a": 1}]', says="the field 'a' twice", param="a"),
    "a name twice beside an escaped colon": wrong(
        more=r', "seed": 1, "seed": 2, "user": "a\u003ab"', says="the field 'seed' twice", param="seed"
    ),
    "a name twice, once escaped": wrong(more=r', "seed": 1, "\u0073eed": 2', says="'seed' twice", param="seed"),
    "a text for a number": wrong(more=', "temperature": "hot"', says="'hot'", param="temperature"),
    "a number for a truth value": wrong(more=', "stream": 1', says="stream: Expected 'bool", param="stream"),
    "an object for a text": wrong(more=', "organization_id": {}', says="got 'object'", param="organization_id"),
    "another organization": wrong(
        more=', "organization_id": "org_1"', status=403, says="does not act for", param="organization_id"
    ),
}


@pytest.fixture(scope="module")
def culprit(surface: Installation) -> Organization:
    """The organisation that does all of it."""
    return surface.signup("Bad input")


@pytest.fixture(scope="module")
def client(culprit: Organization) -> Iterator[httpx2.Client]:
    with culprit.client() as made:
        made.headers["content-type"] = "application/json"
        yield made


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("more", "raw", "status", "says", "param"), BODIES.values(), ids=BODIES)
def test_a_wrong_body_is_refused_in_words_that_help(
    client: httpx2.Client, path: str, *, more: str, raw: bytes | None, status: int, says: str, param: str | None
) -> None:
    told = param if param is None else _named(path, param)
    refused(client.post(path, content=raw if raw is not None else body(path, more)), status, _named(path, says), told)


def refused(answer: httpx2.Response, status: int, says: str, param: str | None = None) -> None:
    """Holds an error against what is expected of it."""
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()["error"]
    assert says in error["message"]
    if "code" in error:  # Anthropic's shape has no such fields
        assert error["param"] == param
    assert len(error["message"]) < 1000


@pytest.mark.parametrize(
    ("fields", "says", "param"),
    [
        ({"prompt": ""}, "length >= 1", "prompt"),
        ({"prompt": "x" * 100_001}, "length <= 100000, sent: 100001 characters", "prompt"),
        ({"prompt": 7}, "prompt: Expected 'str', got 'int', sent: 7", "prompt"),
        ({"prompt": None}, "prompt: Expected 'str', got 'null'", "prompt"),
        ({"promt": "hi"}, "The field 'prompt' is missing. Did you mean it by 'promt'?", "prompt"),
        ({"prompt": "hi", "routing_mode": "cheap"}, "accepted: autopilot, guided, explicit", "routing_mode"),
        ({"prompt": "hi", "quality_threshold": 6}, "<= 5", "quality_threshold"),
        ({"prompt": "hi", "cost_budget": 0}, "cost_budget: Expected", "cost_budget"),
        ({"prompt": "hi", "cost_budget": -1}, "cost_budget: Expected", "cost_budget"),
        ({"prompt": "hi", "seed": 2**63}, "9223372036854775807", "seed"),
        ({"prompt": "hi", "stop": ["a", "b", "c", "d", "e"]}, "length <= 4", "stop"),
        ({"prompt": "hi", "routing_mode": "explicit"}, "needs 'model_override'", "model_override"),
        ({"prompt": "hi", "model_override": "gpt-6-luna"}, "goes with routing_mode 'explicit'", "model_override"),
        ({"prompt": "hi", "quality_preference": "low"}, "goes with routing_mode 'guided'", "quality_preference"),
    ],
)
def test_infer_names_the_field_the_value_and_what_is_accepted(
    client: httpx2.Client, fields: dict[str, Any], says: str, param: str
) -> None:
    refused(client.post(INFER, json=fields), 400, says, param)


@pytest.mark.parametrize(
    ("fields", "says", "param"),
    [
        ({}, "The field 'messages' is missing", "messages"),
        ({"messages": []}, "length >= 1", "messages"),
        ({"messages": "hi"}, "messages: Expected 'array'", "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0]: Object missing required field 'role'", "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "'type'", "messages[0].content[0]"),
        ({**GOOD[CHAT], "model": 7}, "model: Expected 'str | null', got 'int', sent: 7", "model"),
        ({**GOOD[CHAT], "n": 0}, ">= 1", "n"),
        ({**GOOD[CHAT], "tools": {}}, "tools: Expected 'array", "tools"),
    ],
)
def test_chat_names_the_field_the_value_and_what_is_accepted(
    client: httpx2.Client, fields: dict[str, Any], says: str, param: str
) -> None:
    refused(client.post(CHAT, json=fields), 400, says, param)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "The field 'messages' is missing"),
        ({**GOOD[MESSAGES]}, "The field 'max_tokens' is missing"),
        ({**GOOD[MESSAGES], "max_token": 5}, "Did you mean it by 'max_token'?"),
        ({"messages": [], "max_tokens": 5}, "length >= 1"),
        ({"messages": [{"role": "user"}], "max_tokens": 5}, "missing required field 'content'"),
        ({**GOOD[MESSAGES], "max_tokens": 5, "system": 7}, "system: Expected"),
        ({**GOOD[MESSAGES], "max_tokens": 5, "stop_sequences": "x"}, "stop_sequences: Expected 'array | null'"),
        ({**GOOD[MESSAGES], "max_tokens": 5, "tool_choice": "auto"}, "tool_choice: Expected 'object | null'"),
    ],
)
def test_messages_names_the_field_the_value_and_what_is_accepted(
    client: httpx2.Client, fields: dict[str, Any], says: str
) -> None:
    refused(client.post(MESSAGES, json=fields), 400, says)


@pytest.mark.parametrize(
    ("fields", "says", "param"),
    [
        ({}, "The field 'input' is missing", "input"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "The field 'input' is missing", "input"),
        ({"input": []}, "length >= 1", "input"),
        ({"input": ""}, "length >= 1", "input"),
        ({**GOOD[RESPONSES], "tools": [{"name": "f"}]}, "tools[0]: Object missing required field 'type'", "tools[0]"),
        ({"input": 7}, "input: Expected 'str | array', got 'int', sent: 7", "input"),
        ({"input": ["hi"]}, "input[0]: Expected 'object', got 'str'", "input[0]"),
        ({**GOOD[RESPONSES], "instructions": []}, "instructions: Expected 'str | null'", "instructions"),
        ({**GOOD[RESPONSES], "tools": {}}, "tools: Expected 'array", "tools"),
        ({**GOOD[RESPONSES], "text": "json"}, "text: Expected 'object | null'", "text"),
        ({**GOOD[RESPONSES], "reasoning": "low"}, "reasoning: Expected 'object | null'", "reasoning"),
        ({**GOOD[RESPONSES], "store": "no"}, "store: Expected 'bool | null'", "store"),
    ],
)
def test_responses_names_the_field_the_value_and_what_is_accepted(
    client: httpx2.Client, fields: dict[str, Any], says: str, param: str
) -> None:
    refused(client.post(RESPONSES, json=fields), 400, says, param)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "Content-Type: application/json"),
        ({"content-type": "text/plain"}, 415, "text/plain"),
        ({"content-type": "application/json; charset=latin-1"}, 415, "latin-1"),
        ({"content-encoding": "gzip"}, 415, "compressed ('gzip')"),
        ({"x-huge": "x" * 70_000}, 431, "65536"),
        ({f"x-huge-{number}": "x" * 1000 for number in range(70)}, 431, "65536"),
        ({"x-asahi-cache": "maybe"}, 400, "none of on, off, exact"),
        ({"cache-control": "max-age=soon"}, 400, "is not a number of seconds"),
        ({"x-asahi-tags": "team"}, 400, "is not NAME=VALUE"),
        ({"idempotency-key": "x" * 256}, 400, "1 to 255 printable ASCII characters"),
    ],
)
def test_a_wrong_header_is_refused_in_words_that_help(
    client: httpx2.Client, path: str, headers: dict[str, str], status: int, says: str
) -> None:
    answer = client.post(path, headers=headers, content=body(path, ""))
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("{", "Header x-asahi-routing: The body is not valid JSON"),
        ('{"cost_budge": 1}', "There is no field 'cost_budge'; did you mean 'cost_budget'?"),
        ('{"latency_budget_ms": "soon"}', "latency_budget_ms: Expected 'int | null'"),
    ],
)
def test_a_wrong_routing_header_is_refused(client: httpx2.Client, header: str, says: str) -> None:
    answer = client.post(CHAT, headers={"x-asahi-routing": header}, json=GOOD[CHAT])
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_wrong_method_is_told_which_one_is_right(client: httpx2.Client, path: str, method: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", PATHS)
def test_a_body_in_chunks_is_read_no_further_than_the_limit(client: httpx2.Client, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(33 * 16):
            yield b" " * 65536

    refused(client.post(path, content=chunks()), 413, "more than 33554432 bytes")


def test_names_of_keys_that_nobody_knows_are_refused_where_a_mistake_would_be_costly(client: httpx2.Client) -> None:
    answer = client.post("/governance/api-keys", json={"name": "x", "scopes": ["infer"], "expire_at": "2030-01-01"})
    refused(answer, 400, "There is no field 'expire_at'; did you mean 'expires_at'?", "expire_at")


@pytest.mark.parametrize("tail", [b"", b"GET /health HTTP/1.1\r\n", b"x-endless: " + b"x" * 3_000_000])
async def test_what_is_no_http_is_refused_in_the_contracts_shape_and_the_edge_goes_on(
    surface: Installation, tail: bytes
) -> None:
    head = b"POST /infer HTTP/1.1\r\nhost: x\r\n" + tail if b"endless" in tail else b"\x00\x01nonsense\r\n\r\n" + tail
    reader, writer = await asyncio.open_connection("127.0.0.1", surface["edge"].http_port)
    writer.write(head)
    status = await asyncio.wait_for(reader.readline(), 120)
    headers, _, text = (await asyncio.wait_for(reader.read(), 120)).partition(b"\r\n\r\n")
    writer.close()
    error = json.loads(text)["error"]
    assert status.split()[1] == (b"431" if b"endless" in tail else b"400")
    assert error["request_id"].encode() in headers
    assert httpx2.get(f"{surface.url}/health/ready", verify=False).status_code == 200


def test_a_request_that_is_never_finished_hurts_nobody(surface: Installation) -> None:
    with socket.create_connection(("127.0.0.1", surface["edge"].http_port)) as half:
        half.sendall(b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert httpx2.get(f"{surface.url}/health/ready", verify=False).status_code == 200


def test_nothing_of_all_this_was_billed_stored_or_asked(
    surface: Installation, culprit: Organization, client: httpx2.Client
) -> None:
    figures = client.get("/metrics").json()["data"]
    assert (figures["requests"], figures["total_cost"], figures["cache_size"]) == (0, 0, 0)
    assert call_records(surface.data, culprit.id) == []
    assert client.get("/analytics/recent-inferences").json()["data"] == []


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_fields_of_infer_are_ignored_and_told(caller: Organization, stream: bool) -> None:
    with caller.client() as asking:
        answer = asking.post(INFER, json={"prompt": "hi", "tempratur": 1, "zzz\n": 2, "stream": stream})
        again = asking.post(INFER, json={"prompt": "hi", "stream": stream})
    assert answer.status_code == 200
    assert answer.headers["x-asahi-warning"] == (
        "ignored unknown fields 'tempratur' (did you mean 'temperature'?), 'zzz\\n'"
    )
    assert "x-asahi-warning" not in again.headers
    assert again.headers["x-asahi-cache"] == "hit; tier=1"


def test_many_unknown_fields_make_no_long_header(caller: Organization) -> None:
    with caller.client() as asking:
        answer = asking.post(INFER, json={"prompt": "hi", **{f"{number:02d}{'ü' * 60}": 1 for number in range(50)}})
    assert answer.headers["x-asahi-warning"].endswith(", and 45 more")
    assert len(answer.headers["x-asahi-warning"]) < 1200


def test_what_is_unusual_but_right_is_answered(caller: Organization) -> None:
    with caller.client() as asking:
        for content_type in ("application/json", "Application/JSON; Charset=UTF-8", 'application/json;charset="utf-8"'):
            answer = asking.post(INFER, headers={"content-type": content_type}, content=b'{"prompt": "hi"}')
            assert answer.status_code == 200
        request = asking.build_request("POST", INFER, content=b'{"prompt": "hi: {[\\u003a"}')
        assert "content-type" not in request.headers
        assert asking.send(request).status_code == 200
        assert asking.post(INFER, content=body(INFER, f', "x": {"[" * 100}{"]" * 100}')).status_code == 200
        assert asking.post(INFER, json={"prompt": "{" * 1000 + ":" * 1000, "cost_budget": 0.1 / 3}).status_code == 200
