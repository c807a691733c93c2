"""A thousand generated conversations of each protocol: identical in the same one, equal or refused in the other.

What two bodies of different protocols have in common is said by `_told_openai` and `_told_anthropic`, which know
nothing of the translators.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from asahi_core.errors import InvalidRequest, UnsupportedByModel
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.dialect import Dialect
from asahi_router.providers.fields import placed
from asahi_router.providers.openai.dialect import OpenAI

MANY = settings(max_examples=1000, deadline=None)
_STEP = re.compile(r"\.?([a-z_]+)|\[(\d+)\]")

_ALPHABET = 'ab "\\\n{}é日😀'
texts = st.one_of(*[st.text(_ALPHABET, min_size=1, max_size=12)] * 6, st.just(""))
names = st.text("abcxyz_", min_size=1, max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, json_values, max_size=3)
schemas = st.builds(lambda name, inner: {"type": "object", "properties": {name: inner}}, names, objects)
data = st.sampled_from(["iVBORw0KGgo=", "AAEC", "/9j/"])
odd = st.sampled_from(
    [{}] * 40 + [{"some_new_field": {"a": 1}}, {"name": "Ann"}, {"cache_control": {"type": "ephemeral"}}]
)


def _object(*always: tuple[str, Any], **sometimes: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fixed = {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in always}
    return st.fixed_dictionaries(fixed, optional=sometimes)


def _with(objects_: st.SearchStrategy[dict[str, Any]], more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda one, two: {**one, **two}, objects_, more)


image_urls = st.just("https://example.org/a.png") | data.map(lambda one: f"data:image/png;base64,{one}")
openai_texts = _object(("type", "text"), ("text", texts))
openai_images = _object(
    ("type", "image_url"),
    ("image_url", _object(("url", image_urls), detail=st.sampled_from(["auto"] * 5 + ["high"]))),
)
openai_files = _object(("type", "file"), ("file", _object(("file_id", names))))
openai_calls = _object(
    ("id", names),
    ("type", "function"),
    (
        "function",
        _object(("name", names), ("arguments", objects.map(json.dumps) | st.sampled_from(["", "{}", "{}", "[1]"]))),
    ),
)
openai_messages = st.one_of(
    _object(
        ("role", st.sampled_from(["system", "developer"])), ("content", texts | st.lists(openai_texts, max_size=2))
    ),
    _object(
        ("role", "user"),
        (
            "content",
            texts | st.lists(st.one_of(*[openai_texts, openai_images] * 4, openai_files), min_size=1, max_size=3),
        ),
    ),
    _object(
        ("role", "assistant"),
        ("content", st.none() | texts),
        refusal=st.none() | texts,
        tool_calls=st.lists(openai_calls, max_size=2),
    ),
    _object(("role", "tool"), ("tool_call_id", names), ("content", texts | st.lists(openai_texts, max_size=2))),
    _object(("role", st.sampled_from(["user"] * 8 + ["nobody", "function"])), ("content", texts)),
)
openai_tools = _object(
    ("type", "function"),
    ("function", _object(("name", names), description=texts, parameters=schemas, strict=st.booleans())),
)
openai_bodies = _with(
    _object(
        ("model", "m"),
        ("messages", st.lists(_with(openai_messages, odd), min_size=1, max_size=6)),
        max_tokens=st.integers(1, 10_000),
        temperature=st.floats(0, 1) | st.floats(0, 1.2),
        top_p=st.floats(0, 1),
        stop=texts | st.lists(texts, max_size=2),
        tools=st.lists(openai_tools, max_size=3),
        tool_choice=st.sampled_from(
            ["auto", "none", "required", {"type": "function", "function": {"name": "look"}}, {"type": "custom"}]
        ),
        parallel_tool_calls=st.booleans(),
        response_format=_object(
            ("type", "json_schema"), ("json_schema", _object(("name", "answer"), ("schema", schemas)))
        ),
        user=names,
        seed=st.none(),
        n=st.sampled_from([1] * 9 + [2]),
    ),
    odd,
)

anthropic_texts = _object(("type", "text"), ("text", texts), cache_control=st.just({"type": "ephemeral"}))
anthropic_images = _object(
    ("type", "image"),
    (
        "source",
        st.one_of(
            _object(("type", "base64"), ("media_type", "image/png"), ("data", data)),
            _object(("type", "url"), ("url", "https://example.org/a.png")),
            _object(("type", "file"), ("file_id", names)),
        ),
    ),
)
anthropic_calls = _object(("type", "tool_use"), ("id", names), ("name", names), ("input", objects))
anthropic_results = _object(
    ("type", "tool_result"),
    ("tool_use_id", names),
    content=texts | st.lists(st.one_of(anthropic_texts, anthropic_texts, anthropic_images), max_size=2),
    is_error=st.sampled_from([False] * 7 + [True]),
)
anthropic_thoughts = _object(
    ("type", "thinking"), ("thinking", texts), ("signature", st.sampled_from(["", "", "c2ln"]))
)
anthropic_messages = st.one_of(
    _object(
        ("role", "user"),
        (
            "content",
            texts
            | st.lists(st.one_of(anthropic_texts, anthropic_texts, anthropic_images, anthropic_results), max_size=3),
        ),
    ),
    _object(
        ("role", "assistant"),
        ("content", texts | st.lists(st.one_of(anthropic_texts, anthropic_calls, anthropic_thoughts), max_size=3)),
    ),
    _object(("role", st.sampled_from(["system", "user", "nobody"])), ("content", texts)),
)
anthropic_tools = st.one_of(
    *[_object(("name", names), ("input_schema", schemas), description=texts, strict=st.booleans())] * 8,
    _object(("type", "bash_20250124"), ("name", "bash")),
)
anthropic_bodies = _with(
    _object(
        ("model", "m"),
        ("max_tokens", st.integers(1, 10_000)),
        ("messages", st.lists(_with(anthropic_messages, odd), min_size=1, max_size=6)),
        system=texts | st.lists(anthropic_texts, max_size=2),
        temperature=st.floats(0, 1),
        top_p=st.floats(0, 1),
        stop_sequences=st.lists(texts, max_size=2),
        tools=st.lists(anthropic_tools, max_size=3),
        tool_choice=st.one_of(
            _object(("type", st.sampled_from(["auto", "any"])), disable_parallel_tool_use=st.booleans()),
            _object(("type", "tool"), ("name", names), disable_parallel_tool_use=st.booleans()),
            _object(("type", "none")),
        ),
        output_config=_object(("format", _object(("type", "json_schema"), ("schema", schemas)))),
        metadata=_object(user_id=names),
        thinking=st.sampled_from([{"type": "disabled"}, {"type": "disabled"}, {"type": "adaptive"}]),
    ),
    odd,
)


@MANY
@given(openai_bodies, st.booleans())
def test_openai_s_questions_go_to_their_own_protocol_as_they_are_and_to_the_other_or_not_at_all(
    body: dict[str, Any], streamed: bool
) -> None:
    adapted = json.loads(OpenAI().adapt(json.dumps(body).encode(), "m", stream=streamed))
    if streamed:
        assert (adapted.pop("stream"), adapted.pop("stream_options")) == (True, {"include_usage": True})
    assert adapted == body
    translated = _translated(OpenAI(), Anthropic(), body)
    if translated is not None:
        assert _told_anthropic(translated) == {"max_tokens": 4096} | _told_openai(body)


@MANY
@given(anthropic_bodies, st.booleans())
def test_anthropic_s_questions_go_to_their_own_protocol_as_they_are_and_to_the_other_or_not_at_all(
    body: dict[str, Any], streamed: bool
) -> None:
    adapted = json.loads(Anthropic().adapt(json.dumps(body).encode(), "m", stream=streamed))
    if streamed:
        assert adapted.pop("stream") is True
    assert adapted == body
    translated = _translated(Anthropic(), OpenAI(), body)
    if translated is not None:
        assert _told_openai(translated) == _told_anthropic(body)


def _translated(asked: Dialect, spoken: Dialect, body: dict[str, Any]) -> dict[str, Any] | None:
    """The translation; None: it is refused, by the name of something that is there."""
    question = json.dumps(body).encode()
    named = None
    try:
        chat = asked.read_question(question)
        try:
            written = spoken.write_question(chat, "m", stream=False, default_max_tokens=4096)
        except UnsupportedByModel as error:
            named = placed(error, asked.places(question)).param
    except InvalidRequest as error:
        named = error.param
    if named is None:
        event("translated")
        translated: dict[str, Any] = json.loads(written)
        return translated
    event("refused")
    _require_there(body, named)
    return None


def _require_there(body: Any, path: str) -> None:
    """That `path` leads to something."""
    assert "".join(match[0] for match in _STEP.finditer(path)) == path, path
    for match in _STEP.finditer(path):
        body = body[match[1]] if match[1] is not None else body[int(match[2])]


def _told_openai(body: dict[str, Any]) -> dict[str, Any]:
    """What a body of OpenAI's asks for."""
    told: dict[str, Any] = {name: body[name] for name in ("temperature", "top_p") if name in body}
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    told |= {"max_tokens": most} if most is not None else {}
    stop = body.get("stop")
    told |= {"stop": [stop] if isinstance(stop, str) else stop} if stop not in (None, []) else {}
    told |= {"user": body["user"]} if body.get("user") else {}
    if "response_format" in body:
        told["schema"] = body["response_format"]["json_schema"]["schema"]
    functions = [tool["function"] for tool in body.get("tools") or ()]
    if functions:
        told["tools"] = [_tool(one, one.get("parameters")) for one in functions]
    choice = body.get("tool_choice")
    if choice not in (None, "auto"):
        told["choice"] = choice if isinstance(choice, str) else choice["function"]["name"]
    if "parallel_tool_calls" in body and functions and choice != "none":
        told["parallel"] = body["parallel_tool_calls"]
    told["conversation"] = _instructions_apart([said for one in body["messages"] for said in _said_openai(one)])
    return told


def _said_openai(message: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    role = {"developer": "system"}.get(message["role"], message["role"])
    if role == "tool":
        yield "tool", message["tool_call_id"], tuple(_parts_openai(message["content"]))
        return
    yield from ((role, *part) for part in _parts_openai(message.get("content")))
    if message.get("refusal"):
        yield role, "text", message["refusal"]
    for call in message.get("tool_calls") or ():
        arguments = call["function"]["arguments"]
        yield role, "call", call["id"], call["function"]["name"], json.loads(arguments) if arguments else {}


def _parts_openai(content: Any) -> Iterator[tuple[str, str]]:
    for part in _listed(content):
        if part["type"] == "image_url":
            yield "image", part["image_url"]["url"]
        elif part["text"]:
            yield "text", part["text"]


def _told_anthropic(body: dict[str, Any]) -> dict[str, Any]:
    """What a body of Anthropic's asks for."""
    told: dict[str, Any] = {name: body[name] for name in ("max_tokens", "temperature", "top_p") if name in body}
    told |= {"stop": body["stop_sequences"]} if body.get("stop_sequences") else {}
    user = body.get("metadata", {}).get("user_id")
    told |= {"user": user} if user else {}
    if "output_config" in body:
        told["schema"] = body["output_config"]["format"]["schema"]
    if body.get("tools"):
        told["tools"] = [_tool(one, one.get("input_schema")) for one in body["tools"]]
    choice = body.get("tool_choice")
    if choice is not None:
        kinds = {"any": "required", "tool": choice.get("name")}
        told |= {"choice": kinds.get(choice["type"], choice["type"])} if choice["type"] != "auto" else {}
        if "disable_parallel_tool_use" in choice and body.get("tools"):
            told["parallel"] = not choice["disable_parallel_tool_use"]
    system = [("system", *part) for part in _parts_anthropic(body.get("system"))]
    conversation = [said for one in body["messages"] for said in _said_anthropic(one)]
    told["conversation"] = _instructions_apart([*system, *conversation])
    return told


def _said_anthropic(message: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for block in _listed(message["content"]):
        match block["type"]:
            case "tool_use":
                yield message["role"], "call", block["id"], block["name"], block["input"]
            case "tool_result":
                yield "tool", block["tool_use_id"], tuple(_parts_anthropic(block.get("content")))
            case "text" | "image":
                yield from ((message["role"], *part) for part in _parts_anthropic([block]))


def _parts_anthropic(content: Any) -> Iterator[tuple[str, str]]:
    for block in _listed(content):
        if block["type"] == "image":
            source = block["source"]
            yield "image", source.get("url") or f"data:{source['media_type']};base64,{source['data']}"
        elif block["text"]:
            yield "text", block["text"]


def _listed(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _tool(described: dict[str, Any], schema: Any) -> dict[str, Any]:
    """Without a schema a tool takes any object."""
    told = {"name": described["name"], "schema": schema or {"type": "object"}}
    return told | {name: described[name] for name in ("description", "strict") if described.get(name) not in {None, ""}}


def _instructions_apart(said: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Calls come after what is said in the same turn: OpenAI's protocol knows no order among them."""
    turns: list[list[tuple[Any, ...]]] = []
    for one in said:
        if not turns or turns[-1][0][0] != one[0]:
            turns.append([])
        turns[-1].append(one)
    return [one for turn in turns for one in sorted(turn, key=lambda part: part[1] == "call")]
