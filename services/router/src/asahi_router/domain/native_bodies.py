"""Questions in the providers' protocols, read once, as far as routing needs them: all else is theirs to judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import Api, NativeBody
from asahi_core.errors import InvalidRequest
from asahi_router.domain.translation.fates import Fate, entries_of
from asahi_router.domain.translation.from_responses import FROM_RESPONSES

_LARGEST = 2**53
_CALLERS_TOOLS = ("function", "custom")
_KNOWN = (Api.API_OPENAI_CHAT_COMPLETIONS, Api.API_OPENAI_RESPONSES, Api.API_ANTHROPIC_MESSAGES)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stop": ([],),
    "stop_sequences": ([],),
    "store": (False,),
    "include": ([], ["reasoning.encrypted_content"]),
    "truncation": ("disabled",),
    "background": (False,),
    "text": ({}, {"format": {"type": "text"}}),
    "reasoning": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default", "standard_only"),
    "speed": ("standard",),
    "verbosity": ("medium",),
    "thinking": ({"type": "disabled"},),
}
"""Values that ask for nothing: a model that refuses the parameter takes them."""


class Part(msgspec.Struct):
    """A piece of a message's content, in either protocol."""

    type: str
    text: str | None = None


class Turn(msgspec.Struct):
    """A message, in either protocol."""

    role: str
    content: str | list[Part] | None = None


class _Input(msgspec.Struct):
    """An item of what a response is asked for; those without a role are said by no one."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None


class _ResponseQuestion(msgspec.Struct):
    """What routing reads of a body of OpenAI's responses."""

    input: str | list[_Input]
    instructions: str | None = None

    def question(self) -> "Question":
        """As a conversation."""
        if isinstance(self.input, str):
            return Question([Turn("user", self.input)])
        return Question([Turn(item.role, item.content) for item in self.input], list(self._foreign(self.input)))

    @staticmethod
    def _foreign(items: list[_Input]) -> Iterator[str]:
        """Where items and parts stand that only this protocol has."""
        for index, item in enumerate(items):
            if f"input:{item.type}" not in FROM_RESPONSES:
                yield f"input[{index}]"
            elif item.type == "message" and isinstance(item.content, list):
                for number, part in enumerate(item.content):
                    if f"content:{part.type}" not in FROM_RESPONSES:
                        yield f"input[{index}].content[{number}]"


class _Messages(msgspec.Struct):
    """A body of OpenAI's chat completions or of Anthropic's messages."""

    messages: list[Turn]

    def question(self) -> "Question":
        """As a conversation."""
        return Question(self.messages)


@dataclass(frozen=True, slots=True)
class Question:
    """What routing reads of a body."""

    messages: Sequence[Turn]
    foreign: Sequence[str] = ()
    """Where items stand that only the protocol of the question has."""

    @staticmethod
    def tools_run_elsewhere(fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
        """Where the tools stand that the provider runs, not the caller."""
        for index, tool in enumerate(value(fields.get("tools")) or ()):
            if not isinstance(tool, dict) or tool.get("type") not in _CALLERS_TOOLS:
                yield f"tools[{index}]"

    def untranslatable(self, fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
        """Places in a question to OpenAI's responses that no other protocol has anything for."""
        yield from self.foreign
        for index, tool in enumerate(value(fields.get("tools")) or ()):
            if not isinstance(tool, dict) or f"tools:{tool.get('type')}" not in FROM_RESPONSES:
                yield f"tools[{index}]"
        choice = value(fields.get("tool_choice"))
        if isinstance(choice, dict) and f"tool_choice:{choice.get('type')}" not in FROM_RESPONSES:
            yield "tool_choice"
        for name in ("text", "reasoning"):
            inner, known = value(fields.get(name)), entries_of(FROM_RESPONSES, f"request/{name}")
            for field, given in inner.items() if isinstance(inner, dict) else ():
                entry = known.get(field)
                if given is not None and (entry is None or (entry.fate == Fate.NEUTRAL and given not in entry.values)):
                    yield f"{name}.{field}"


_response_questions = msgspec.json.Decoder(_ResponseQuestion)
_questions = msgspec.json.Decoder(_Messages)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder()


def read_body(native: NativeBody) -> tuple[Question, dict[str, msgspec.Raw]]:
    """The messages of a body, and its fields as they were written, nulls left out.

    Raises:
        InvalidRequest: it is not what its protocol says, as far as it is read.
    """
    if native.api not in _KNOWN:
        name = Api.Name(native.api) if native.api in Api.values() else f"protocol {native.api}"
        message = f"The body is in {name}; models are asked in OpenAI's or Anthropic's protocol."
        raise InvalidRequest(message, param="native.api")
    try:
        asks_response = native.api == Api.API_OPENAI_RESPONSES
        decoder = _response_questions if asks_response else _questions
        question = decoder.decode(native.body).question()
        fields = _fields.decode(native.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what, _, path = str(error).partition(" - at `$.")
        param = path.rstrip("`") or None
        place = f" at '{param}'" if param else ""
        raise InvalidRequest(f"The body cannot be understood{place}: {what[:200]}.", param=param) from error
    if not question.messages:
        name = "input" if asks_response else "messages"
        raise InvalidRequest(f"'{name}' must be a list of at least one message.", param=name)
    return question, {name: raw for name, raw in fields.items() if bytes(raw) != b"null"}


def read_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a body that `read_body` took, as they were written, nulls included."""
    return _fields.decode(body)


def value(raw: msgspec.Raw | None) -> Any:
    """A field's value; None: it is not there."""
    return None if raw is None else _values.decode(raw)


def whole_number(raw: msgspec.Raw | None, name: str) -> int | None:
    """A field's value as a number of 1 or more, within 53 bits; None: it is not there.

    Raises:
        InvalidRequest: it is none.
    """
    found = value(raw)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= _LARGEST:
        raise InvalidRequest(f"'{name}' must be a whole number of 1 to {_LARGEST}.", param=name)
    return found


def asks_for_something(name: str, raw: msgspec.Raw) -> bool:
    """Whether a field has another value than its neutral one; fields without one always do."""
    return name not in _NEUTRAL or value(raw) not in _NEUTRAL[name]
