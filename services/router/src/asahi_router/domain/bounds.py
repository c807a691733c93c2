"""The limit on an answer's length that a policy adds to a question that sets none."""

from collections.abc import Mapping

import msgspec

from asahi.type.v1.chat_pb2 import Api, NativeBody, Prompt
from asahi_router.domain.native_bodies import read_fields

_NAMES: Mapping[Api.ValueType, str] = {
    Api.API_OPENAI_CHAT_COMPLETIONS: "max_completion_tokens",
    Api.API_OPENAI_RESPONSES: "max_output_tokens",
    Api.API_ANTHROPIC_MESSAGES: "max_tokens",
}
_ALL = frozenset(_NAMES.values())


def bounded(prompt: Prompt, most_tokens: int) -> Prompt:
    """`prompt`, with answers of at most `most_tokens` where that is above 0; all else of it stays as it is."""
    if not most_tokens:
        return prompt
    if prompt.HasField("chat"):
        limited = Prompt()
        limited.CopyFrom(prompt)
        limited.chat.max_output_tokens = most_tokens
        return limited
    native = prompt.native
    fields = {name: raw for name, raw in read_fields(native.body).items() if name not in _ALL}
    fields[_NAMES[native.api]] = msgspec.Raw(str(most_tokens).encode())
    return Prompt(native=NativeBody(api=native.api, body=msgspec.json.encode(fields)))
