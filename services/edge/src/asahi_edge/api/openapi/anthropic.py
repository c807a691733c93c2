"""Anthropic's messages in the OpenAPI document: the answer, which is the provider's."""

from typing import Any

_TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}


def _field(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "description": description}


_TOKENS: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0}
_USAGE: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "Tokens as the provider counted them; of a cached answer, the stored ones.",
    "properties": {
        "input_tokens": _field("Tokens neither read from nor written to the provider's cache.", _TOKENS),
        "cache_creation_input_tokens": _field("Tokens written to it.", _TOKENS),
        "cache_read_input_tokens": _field("Tokens read from it.", _TOKENS),
        "output_tokens": _field("Tokens of the answer, thoughts included.", _TOKENS),
    },
}
MESSAGE: dict[str, Any] = {
    "title": "MessageAnswer",
    "type": "object",
    "description": "Anthropic's answer, as the provider gave it, with `asahi` added.",
    "required": ["content", "asahi"],
    "properties": {
        "id": _field("The answer's id.", {"type": "string"}),
        "type": _field("Always `message`.", {"type": "string"}),
        "role": _field("Always `assistant`.", {"type": "string"}),
        "model": _field("The model that answered.", {"type": "string"}),
        "content": _field("Blocks: text, calls of tools, thoughts.", {"type": "array", "items": {"type": "object"}}),
        "stop_reason": _field(
            "Why it stopped: `end_turn`, `max_tokens`, `stop_sequence`, `tool_use`, `refusal`, …", _TEXT_OR_NULL
        ),
        "stop_sequence": _field("Which of `stop_sequences` it met.", _TEXT_OR_NULL),
        "usage": _USAGE,
        "asahi": {"$ref": "#/components/schemas/AsahiObject"},
    },
    "additionalProperties": True,
}
