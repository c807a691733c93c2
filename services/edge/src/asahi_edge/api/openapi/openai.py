"""OpenAI's chat completions in the OpenAPI document: the answer, which is the provider's."""

from typing import Any

_TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}


def _field(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "description": description}


_TOKENS: dict[str, Any] = {"type": "integer", "minimum": 0}
_USAGE: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "Tokens as the provider counted them; of a cached answer, the stored ones.",
    "properties": {
        "prompt_tokens": _field("Tokens of the conversation, cached ones included.", _TOKENS),
        "completion_tokens": _field("Tokens of the answer, reasoning included.", _TOKENS),
        "total_tokens": _field("Both together.", _TOKENS),
    },
}
_CHOICE: dict[str, Any] = {
    "type": "object",
    "description": "One of `n` answers.",
    "properties": {
        "index": _field("Which of them.", {"type": "integer", "minimum": 0}),
        "message": _field("What the model says.", {"type": "object"}),
        "finish_reason": _field("Why it stopped: `stop`, `length`, `tool_calls` or `content_filter`.", _TEXT_OR_NULL),
    },
}
CHAT_ANSWER: dict[str, Any] = {
    "title": "ChatAnswer",
    "type": "object",
    "description": "OpenAI's answer, as the provider gave it, with `asahi` added.",
    "required": ["choices", "asahi"],
    "properties": {
        "id": _field("The answer's id.", {"type": "string"}),
        "object": _field("Always `chat.completion`.", {"type": "string"}),
        "created": _field("When it was given, in seconds since 1970.", {"type": "integer"}),
        "model": _field("The model that answered.", {"type": "string"}),
        "choices": _field("The answers, `n` of them.", {"type": "array", "items": _CHOICE}),
        "usage": _USAGE,
        "asahi": {"$ref": "#/components/schemas/AsahiObject"},
    },
    "additionalProperties": True,
}
