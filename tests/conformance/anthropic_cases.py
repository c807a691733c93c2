"""Questions in Anthropic's protocol as users of its SDK ask them, by what they try."""

from typing import Any

MODEL = "claude-haiku-5-5"
_SAMPLED = "claude-haiku-4-5"
"""A model that takes sampling parameters."""
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "notes": {"type": "array", "items": {}}},
    "required": ["city", "days"],
}
TOOLS: list[dict[str, Any]] = [
    {"name": "forecast", "description": "The weather to come.", "input_schema": _SCHEMA},
    {"name": "journey", "description": "How to get there.", "input_schema": _SCHEMA},
]
_USE_BOTH = "Use forecast and journey."


def _user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def _text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def _said(text: str, *before: dict[str, Any]) -> list[dict[str, Any]]:
    return [*before, {"role": "user", "content": text}]


def _image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


_INLINE = _image(type="base64", media_type="image/png", data=_PNG)
_CALLED = {
    "role": "assistant",
    "content": [
        _text("Let me look."),
        {"type": "tool_use", "id": "toolu_1", "name": "forecast", "input": {"city": "Rome", "days": 2}},
    ],
}


def _result(**fields: Any) -> dict[str, Any]:
    return _user({"type": "tool_result", "tool_use_id": "toolu_1", **fields})


_TEXTS: dict[str, dict[str, Any]] = {
    "a text": {"messages": _said("How do I plan a small garden?")},
    "unicode": {"messages": _said('Wie heißt 日本 auf Français? 😀 \u200d \\ " \n\t')},
    "blocks of text": {"messages": [_user(_text("One."), _text("Two."))]},
    "a system text": {"system": "Be brief.", "messages": _said("What is a river?")},
    "system blocks": {"system": [_text("Be brief."), _text("Be kind.")], "messages": _said("What is a lake?")},
    "a cached system block": {
        "system": [_text("Be patient. " * 400, cache_control={"type": "ephemeral"})],
        "messages": _said("What is a pond?"),
    },
    "an hour in the cache": {
        "system": [_text("Be calm. " * 400, cache_control={"type": "ephemeral", "ttl": "1h"})],
        "messages": _said("What is a brook?"),
    },
    "several turns": {
        "messages": _said("And then?", *_said("Count."), {"role": "assistant", "content": "One."}, *_said("Go on."))
    },
    "a turn of the system's": {"messages": [*_said("Hello."), {"role": "system", "content": "Be formal."}]},
    "a beginning of the answer": {"messages": [*_said("What is the sun?"), {"role": "assistant", "content": "It is"}]},
    "a stop text that is met": {"messages": _said("Tell me a story."), "stop_sequences": ["."]},
    "a stop text that is not": {"messages": _said("Tell me two stories."), "stop_sequences": ["\u0000never"]},
    "a short limit": {"messages": _said("Tell me of the sea."), "max_tokens": 7},
    "an end user": {"messages": _said("Who am I?"), "metadata": {"user_id": "ann"}},
    "a tier": {"messages": _said("How quick are you?"), "service_tier": "standard_only"},
    "sampling": {
        "model": _SAMPLED,
        "messages": _said("Pick a number."),
        "extra_body": {"temperature": 0.5, "top_k": 5},
    },
    "fields that nobody knows": {"messages": _said("What is new?"), "extra_body": {"some_new_field": {"a": [1.5]}}},
    "a beta": {"messages": _said("What is next?"), "extra_headers": {"anthropic-beta": "some-feature-2026-01-01"}},
}
_BLOCKS: dict[str, dict[str, Any]] = {
    "an image": {"messages": [_user(_text("What is this?"), _INLINE)]},
    "an image elsewhere": {
        "messages": [_user(_image(type="url", url="https://example.org/a.png"), _text("And this?"))]
    },
    "a document": {
        "messages": [
            _user(
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
                    "citations": {"enabled": True},
                },
                _text("What is green?"),
            )
        ]
    },
    "thoughts of before": {
        "messages": _said(
            "Are you sure?",
            *_said("What is 6 × 7?"),
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Six sevens.", "signature": "c2lnbmF0dXJl"},
                    {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"},
                    _text("42."),
                ],
            },
        )
    },
    "thinking": {"messages": _said("Think well."), "thinking": {"type": "adaptive"}},
    "an effort": {"messages": _said("Think hard."), "output_config": {"effort": "high"}},
    "a schema": {
        "messages": _said("Plan a trip."),
        "output_config": {
            "format": {"type": "json_schema", "schema": {**_SCHEMA, "additionalProperties": False}},
        },
    },
}
_WITH_TOOLS: dict[str, dict[str, Any]] = {
    "tools that are not called": {"messages": _said("What is rain?")},
    "tools called at once": {"messages": _said(_USE_BOTH)},
    "one call at a time": {
        "messages": _said(_USE_BOTH),
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "some tool": {"messages": _said("Where to?"), "tool_choice": {"type": "any"}},
    "a named tool": {"messages": _said("And how?"), "tool_choice": {"type": "tool", "name": "journey"}},
    "no tool": {"messages": _said(_USE_BOTH), "tool_choice": {"type": "none"}},
    "a result": {"messages": [*_said("Rome?"), _CALLED, _result(content="Sunny.")]},
    "a result in blocks": {
        "messages": [*_said("Rome!"), _CALLED, _result(content=[_text("Sunny"), _text("and hot.")])]
    },
    "a result with an image": {"messages": [*_said("Map?"), _CALLED, _result(content=[_text("Here:"), _INLINE])]},
    "an empty result": {"messages": [*_said("Nothing?"), _CALLED, _result()]},
    "a failed call": {"messages": [*_said("Broken?"), _CALLED, _result(content="No such city.", is_error=True)]},
    "a result and more": {
        "messages": [
            *_said("Rome, then?"),
            _CALLED,
            _user({"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}, _text("Thanks.")),
        ]
    },
}
CASES: dict[str, dict[str, Any]] = {
    name: {"model": MODEL, "max_tokens": 400, **asked}
    for name, asked in {
        **_TEXTS,
        **_BLOCKS,
        **{name: {"tools": TOOLS, **asked} for name, asked in _WITH_TOOLS.items()},
    }.items()
}
NEVER_KEPT = {"a short limit"}
"""Questions whose answers are cut short, which no cache keeps."""
