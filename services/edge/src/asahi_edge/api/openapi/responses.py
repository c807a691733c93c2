"""OpenAI's responses in the OpenAPI document: the answer."""

from typing import Any


def _field(description: str, kind: Any) -> dict[str, Any]:
    return {"type": kind, "description": description}


RESPONSE: dict[str, Any] = {
    "title": "ResponseAnswer",
    "type": "object",
    "description": "A response in OpenAI's form, whichever provider answered, with `asahi` added.",
    "required": ["id", "object", "status", "output", "asahi"],
    "properties": {
        "id": _field("The answer's id.", "string"),
        "object": _field("Always `response`.", "string"),
        "created_at": _field("When it was given, in seconds since 1970.", "integer"),
        "status": _field("`completed` or `incomplete`.", "string"),
        "store": _field("Whether it is kept.", "boolean"),
        "previous_response_id": _field("The response that it goes on with.", ["string", "null"]),
        "incomplete_details": _field("Why it is incomplete.", ["object", "null"]),
        "model": _field("The model that answered.", "string"),
        "output": {
            "type": "array",
            "items": {"type": "object"},
            "description": "What the model said, in order: messages, function calls, reasoning.",
        },
        "usage": _field(
            "Tokens as the provider counted them; of a cached answer, those of the call.", ["object", "null"]
        ),
        "asahi": {"$ref": "#/components/schemas/AsahiObject"},
    },
    "additionalProperties": True,
}
