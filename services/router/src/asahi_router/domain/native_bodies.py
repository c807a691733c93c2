"""Questions in the providers' protocols, read once, as far as routing needs them: all else is theirs to judge."""

from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import Api, NativeBody
from asahi_core.errors import InvalidRequest

_LARGEST = 2**53
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


class Question(msgspec.Struct):
    """What routing reads of a body."""

    messages: list[Turn]


_questions = msgspec.json.Decoder(Question)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder()


def read_body(native: NativeBody) -> tuple[Question, dict[str, msgspec.Raw]]:
    """The messages of a body, and its fields as they were written, nulls left out.

    Raises:
        InvalidRequest: it is not what its protocol says, as far as it is read.
    """
    if native.api not in (Api.API_OPENAI_CHAT_COMPLETIONS, Api.API_ANTHROPIC_MESSAGES):
        message = f"The body is in {Api.Name(native.api)}; models are asked in OpenAI's or Anthropic's protocol."
        raise InvalidRequest(message, param="native.api")
    try:
        question = _questions.decode(native.body)
        fields = _fields.decode(native.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what, _, path = str(error).partition(" - at `$.")
        param = path.rstrip("`") or None
        place = f" at '{param}'" if param else ""
        raise InvalidRequest(f"The body cannot be understood{place}: {what[:200]}.", param=param) from error
    if not question.messages:
        raise InvalidRequest("'messages' must be a list of at least one message.", param="messages")
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
