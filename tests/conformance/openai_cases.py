"""Questions in OpenAI's protocol as users of its SDK ask them, by what they try."""

from typing import Any

from tests.conformance.anthropic_cases import TOOLS as ANTHROPIC_TOOLS

MODEL = "gpt-4.1-nano"
_REASONS = "gpt-6-luna"
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": tool["name"],
            "description": tool["description"],
            "parameters": tool["input_schema"],
        },
    }
    for tool in ANTHROPIC_TOOLS
]
_USE_BOTH = "Use forecast and journey."


def _said(text: str, *before: dict[str, Any]) -> list[dict[str, Any]]:
    return [*before, {"role": "user", "content": text}]


_CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "forecast", "arguments": '{"city":"Rome","days":2}'}}
    ],
}
_PNG = "data:image/png;base64,iVBORw0KGgo="
_WITHOUT_TOOLS: dict[str, dict[str, Any]] = {
    "a text": {"messages": _said("How do I plan a small garden?")},
    "unicode": {"messages": _said('Wie heißt 日本 auf Français? 😀 \\ " \n\t')},
    "instructions": {"messages": _said("What is a river?", {"role": "system", "content": "Be brief."})},
    "a developer's instructions": {"messages": _said("A lake?", {"role": "developer", "content": "Be kind."})},
    "several turns": {"messages": _said("And then?", *_said("Count."), {"role": "assistant", "content": "One."})},
    "an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": _PNG, "detail": "low"}},
                ],
            }
        ]
    },
    "sampling": {"messages": _said("Pick a number."), "temperature": 0.3, "top_p": 0.9, "seed": 7},
    "penalties": {
        "messages": _said("Vary."),
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "logit_bias": {"5": 1},
    },
    "a stop text": {"messages": _said("Tell me a story."), "stop": "."},
    "a short limit": {"messages": _said("Tell me of the sea."), "max_completion_tokens": 7},
    "an older limit": {"messages": _said("Tell me of rain."), "max_tokens": 300},
    "several answers": {"messages": _said("Name a colour."), "n": 3},
    "log probabilities": {"messages": _said("Yes or no?"), "logprobs": True, "top_logprobs": 2},
    "a schema": {
        "messages": _said("Plan a trip."),
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "trip", "schema": ANTHROPIC_TOOLS[0]["input_schema"]},
        },
    },
    "some JSON": {"messages": _said("Answer in JSON."), "response_format": {"type": "json_object"}},
    "an effort": {"model": _REASONS, "messages": _said("Think."), "reasoning_effort": "low"},
    "labels": {"messages": _said("Who am I?"), "metadata": {"a": "b"}, "user": "ann", "store": False},
    "fields that nobody knows": {"messages": _said("What is new?"), "extra_body": {"some_new_field": {"a": [1.5]}}},
}
_WITH_TOOLS: dict[str, dict[str, Any]] = {
    "tools that are not called": {"messages": _said("What is rain?")},
    "tools called at once": {"messages": _said(_USE_BOTH)},
    "one call at a time": {"messages": _said(_USE_BOTH), "parallel_tool_calls": False},
    "some tool": {"messages": _said("Where to?"), "tool_choice": "required"},
    "a named tool": {
        "messages": _said("And how?"),
        "tool_choice": {"type": "function", "function": {"name": "journey"}},
    },
    "no tool": {"messages": _said(_USE_BOTH), "tool_choice": "none"},
    "a result": {
        "messages": [*_said("Rome?"), _CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}]
    },
}
CASES: dict[str, dict[str, Any]] = {
    name: {"model": MODEL, **asked}
    for name, asked in {
        **_WITHOUT_TOOLS,
        **{name: {"tools": TOOLS, **asked} for name, asked in _WITH_TOOLS.items()},
    }.items()
}
NEVER_KEPT = {"a short limit"}
"""Questions whose answers are cut short, which no cache keeps."""
