"""What is known of a question before anybody answers it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

import msgspec

from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Prompt, Role, ToolChoiceMode
from asahi_core.errors import InvalidRequest
from asahi_router.domain.estimate import prompt_bytes
from asahi_router.domain.form import Form, form_of
from asahi_router.domain.kinds import kind_of, named_kind, script_of
from asahi_router.domain.native_bodies import Part, Turn, asks_for_something, read_body, value, whole_number
from asahi_router.domain.translation.fates import carried_names
from asahi_router.domain.translation.from_anthropic import FROM_ANTHROPIC
from asahi_router.domain.translation.from_openai import FROM_OPENAI
from asahi_router.domain.translation.from_responses import FROM_RESPONSES

FORCED_TOOL_CHOICE = "forced_tool_choice"
"""What a model refuses that cannot be made to call a tool. The field is `tool_choice`."""
_FREE_CHOICES = (b'"auto"', b'"none"')
_FREE_TYPES = frozenset({"auto", "none"})
_MOST_ANTHROPIC_TEMPERATURE = 1.0
_FRAMING_TOKENS = 64
_TOOL_TOKENS = 1_000
"""Most tokens of what providers themselves say about tools."""
_IMAGE_TOKENS = 3_000
"""Most tokens of an image."""

_CARRIED_FROM_OPENAI, _CARRIED_FROM_ANTHROPIC = carried_names(FROM_OPENAI), carried_names(FROM_ANTHROPIC)
_CARRIED_FROM_RESPONSES = carried_names(FROM_RESPONSES)
"""The fields of each protocol that keep no question with it. The translation itself has the last word."""
_OPENAI_NAMES = {"stop_sequences": "stop"}
"""Anthropic's parameters that the catalog knows by OpenAI's name."""
_ANTHROPIC_NAMES = {"stop": "stop_sequences", "response_format": "output_config", FORCED_TOOL_CHOICE: "tool_choice"}
_RESPONSES_NAMES = {
    "messages": "input",
    "response_format": "text",
    "max_tokens": "max_output_tokens",
    FORCED_TOOL_CHOICE: "tool_choice",
}
_OWN_NAMES = {FORCED_TOOL_CHOICE: "tool_choice"}

_NAMES: Mapping[Api.ValueType, Mapping[str, str]] = {
    Api.API_ANTHROPIC_MESSAGES: _ANTHROPIC_NAMES,
    Api.API_OPENAI_RESPONSES: _RESPONSES_NAMES,
}


@dataclass(frozen=True, slots=True)
class Features:
    """A question as routing sees it."""

    api: Api.ValueType
    """The protocol it is written in; `API_CHAT`: Asahi's own form."""
    asked_bytes: int
    """Size of the question, see `domain.estimate`."""
    kind: str
    """The kind of work, one of `domain.kinds.KINDS`."""
    most_input_tokens: int
    """More tokens it cannot have: each has a byte at least."""
    script: str = ""
    """What most of its letters are: `latin`, `cjk` or `other`; empty: there are none."""
    has_tools: bool = False
    images: int = 0
    has_schema: bool = False
    max_output_tokens: int | None = None
    """Most tokens of each answer; None: the question does not say."""
    answers: int = 1
    """How many answers are asked for at once."""
    reasoning_effort: str = ""
    """Empty: the question does not say."""
    parameters: frozenset[str] = frozenset()
    """Names of the parameters that are sent with another value than the default."""
    only_in_its_protocol: frozenset[str] = frozenset()
    """Names of those that no other protocol can carry."""
    form: Form = ()
    """What can be seen of it in numbers, see `domain.form`."""
    thread: bytes = b""
    """Digest of how the conversation begins: of its first question, and what is said before it."""
    turn: int = 1
    """Which of the user's messages it is."""
    untranslatable: frozenset[str] = frozenset()
    """Of these, what OpenAI's other protocol cannot carry either: places in a question to its responses."""
    unpriced_tool: str = ""
    """Where a tool stands whose uses the provider charges for at prices that are not in the book; empty: nowhere."""
    writes_cache: bool = False
    """Whether parts are marked to be kept in the provider's prompt cache, which may cost more than they do."""

    def field(self, name: str) -> str:
        """What the question calls the parameter that the catalog knows as `name`."""
        names = _NAMES.get(self.api, _OWN_NAMES)
        return names.get(name, name)

    @property
    def is_bare(self) -> bool:
        """Whether it is nothing but text, with nothing asked that some model might not take."""
        return not (
            self.parameters
            or self.only_in_its_protocol
            or self.has_tools
            or self.images
            or self.has_schema
            or self.max_output_tokens
        )


def read_features(prompt: Prompt, kind: str = "") -> Features:
    """What `prompt` is; `kind`: the kind of work as its caller calls it, if they do.

    Raises:
        InvalidRequest: it cannot be understood.
    """
    if prompt.HasField("native"):
        return _native(prompt)
    if not prompt.chat.messages:
        raise InvalidRequest("The prompt has no message.", param="prompt.chat.messages")
    features = _chat(prompt)
    named = named_kind(kind)
    return replace(features, kind=named) if named else features


def _chat(prompt: Prompt) -> Features:
    chat = prompt.chat
    text = next((_text(m.parts) for m in reversed(chat.messages) if m.role == Role.ROLE_USER), "")
    sent = {name for name in ("temperature", "top_p") if chat.HasField(name) and getattr(chat, name) != 1}
    sent |= {name for name in ("seed",) if chat.HasField(name)} | ({"stop"} if chat.stop else set())
    if chat.tool_choice.mode in (ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED, ToolChoiceMode.TOOL_CHOICE_MODE_NAMED):
        sent.add(FORCED_TOOL_CHOICE)
    has_schema, any_json = _response_format(chat.response_format_json)
    size, images = prompt_bytes(prompt), _images(chat)
    kind = kind_of(text, has_tools=bool(chat.tools), has_schema=has_schema or any_json)
    tools_bytes = sum(len(tool.description) + len(tool.parameters_json) for tool in chat.tools)
    return Features(
        api=Api.API_CHAT,
        asked_bytes=size,
        most_input_tokens=_most_tokens(size, images, has_tools=bool(chat.tools)),
        kind=kind,
        script=script_of(text),
        form=form_of(text, kind, tools=len(chat.tools), tools_bytes=tools_bytes),
        thread=_thread((message.role == Role.ROLE_USER, _text(message.parts)) for message in chat.messages),
        turn=max(1, sum(message.role == Role.ROLE_USER for message in chat.messages)),
        has_tools=bool(chat.tools),
        images=images,
        has_schema=has_schema,
        max_output_tokens=chat.max_output_tokens if chat.HasField("max_output_tokens") else None,
        writes_cache=chat.cache_prefix,
        parameters=frozenset(sent),
        only_in_its_protocol=_beyond_anthropic(sent, chat.temperature, any_json=any_json),
    )


def _native(prompt: Prompt) -> Features:
    native = prompt.native
    question, fields = read_body(native)
    responses = native.api == Api.API_OPENAI_RESPONSES
    openai = native.api == Api.API_OPENAI_CHAT_COMPLETIONS
    sent = {name for name, raw in fields.items() if asks_for_something(name, raw)}
    if _forces_a_tool(fields.get("tool_choice")):
        sent.add(FORCED_TOOL_CHOICE)
    most = fields.get("max_completion_tokens", fields.get("max_tokens"))
    name = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
    if responses:
        most, name = fields.get("max_output_tokens"), "max_output_tokens"
    has_schema, any_json = _response_format(_wanted_format(fields, responses=responses))
    has_schema = has_schema or b'"json_schema"' in bytes(fields.get("output_config", b""))
    tools = bytes(fields.get("tools", b"[]"))
    has_tools = tools != b"[]"
    untranslatable: set[str] = set()
    unpriced_tool = ""
    if openai:
        temperature = value(fields.get("temperature"))
        known = _CARRIED_FROM_OPENAI
        beyond = _beyond_anthropic(sent, temperature, any_json=any_json)
    elif responses:
        known = _CARRIED_FROM_RESPONSES
        beyond = _beyond_anthropic(sent, value(fields.get("temperature")), any_json=False)
        beyond |= frozenset({"text"}) if any_json else frozenset()
        unpriced_tool = next(question.tools_run_elsewhere(fields), "")
        untranslatable = (sent - known - {FORCED_TOOL_CHOICE}) | set(question.untranslatable(fields))
        beyond |= untranslatable
    else:
        known = _CARRIED_FROM_ANTHROPIC
        beyond = frozenset()
    text = next((_said(turn) for turn in reversed(question.messages) if turn.role == "user"), "")
    effort = value(fields.get("reasoning_effort"))
    if responses:
        reasoning = value(fields.get("reasoning"))
        effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
        beyond |= frozenset({"reasoning"}) if effort else frozenset()
    images = sum(part.type in {"image_url", "image", "input_image"} for part in _parts(question.messages))
    size = prompt_bytes(prompt)
    kind = kind_of(text, has_tools=has_tools, has_schema=has_schema or any_json)
    return Features(
        untranslatable=frozenset(untranslatable),
        unpriced_tool=unpriced_tool,
        api=native.api,
        asked_bytes=size,
        most_input_tokens=_most_tokens(size, images, has_tools=has_tools),
        kind=kind,
        script=script_of(text),
        form=form_of(text, kind, tools=tools.count(b'"name"'), tools_bytes=len(tools) if has_tools else 0),
        thread=_thread((turn.role == "user", _said(turn)) for turn in question.messages),
        turn=max(1, sum(turn.role == "user" for turn in question.messages)),
        has_tools=has_tools,
        images=images,
        has_schema=has_schema,
        max_output_tokens=whole_number(most, name),
        answers=(whole_number(fields.get("n"), "n") or 1) if openai else 1,
        reasoning_effort=effort if isinstance(effort, str) else "",
        parameters=frozenset(sent if openai or responses else _known_by_openais_names(sent)),
        only_in_its_protocol=beyond | (sent - known - {FORCED_TOOL_CHOICE}),
        writes_cache=b'"cache_control"' in native.body,
    )


def _known_by_openais_names(sent: Iterable[str]) -> Iterable[str]:
    """Anthropic's parameters as the catalog knows them; what has one of OpenAI's names here is another thing."""
    return (_OPENAI_NAMES.get(name, name) for name in sent if name not in _OPENAI_NAMES.values())


def _most_tokens(asked_bytes: int, images: int, *, has_tools: bool) -> int:
    return asked_bytes + _FRAMING_TOKENS + images * _IMAGE_TOKENS + (_TOOL_TOKENS if has_tools else 0)


def _beyond_anthropic(sent: Iterable[str], temperature: object, *, any_json: bool) -> frozenset[str]:
    """What OpenAI's protocol and ours can say, and Anthropic's cannot."""
    beyond = {name for name in sent if name == "seed"}
    if isinstance(temperature, int | float) and temperature > _MOST_ANTHROPIC_TEMPERATURE:
        beyond.add("temperature")
    if any_json:
        beyond.add("response_format")
    return frozenset(beyond)


def _response_format(raw: bytes) -> tuple[bool, bool]:
    """Whether an answer must fit a schema, and whether it must be JSON of any shape."""
    if not raw:
        return False, False
    try:
        wanted = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"'response_format' is no JSON: {error}.", param="response_format") from error
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    return kind == "json_schema", kind == "json_object"


def _wanted_format(fields: Mapping[str, msgspec.Raw], *, responses: bool) -> bytes:
    """The form that the answer must have; empty: none is asked for."""
    if not responses:
        return bytes(fields.get("response_format", b""))
    text = value(fields.get("text"))
    return msgspec.json.encode(text["format"]) if isinstance(text, dict) and text.get("format") else b""


def _forces_a_tool(raw: msgspec.Raw | None) -> bool:
    """OpenAI's protocol says `"required"` or an object with the name; Anthropic's an object of type `any` or `tool`."""
    if raw is None or bytes(raw) in _FREE_CHOICES:
        return False
    choice = value(raw)
    return not isinstance(choice, dict) or choice.get("type") not in _FREE_TYPES


def _images(chat: ChatRequest) -> int:
    return sum(
        part.HasField("image") + sum(one.HasField("image") for one in part.tool_result.parts)
        for message in chat.messages
        for part in message.parts
    )


def _text(parts: Iterable[ContentPart]) -> str:
    return "\n".join(part.text for part in parts if part.HasField("text"))


def _thread(turns: Iterable[tuple[bool, str]]) -> bytes:
    """Of turns in order, each whether it is the user's and what it says."""
    digest = blake2b(digest_size=12)
    for is_users, text in turns:
        digest.update(text.encode(errors="replace"))
        if is_users:
            break
    return digest.digest()


def _said(turn: Turn) -> str:
    if isinstance(turn.content, str):
        return turn.content
    return "\n".join(part.text for part in turn.content or () if part.text)


def _parts(turns: Iterable[Turn]) -> Iterable[Part]:
    return (part for turn in turns if isinstance(turn.content, list) for part in turn.content)
