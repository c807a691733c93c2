"""Examples of bodies and answers of Anthropic's protocol, by struct and by name."""

from typing import Any

_REQUEST = "01a20da6-23de-7451-967a-afcb49443661"
_QUESTION = {"role": "user", "content": "How is the weather in Rome?"}
_TOOL: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
_MESSAGE: dict[str, Any] = {
    "id": "msg_01a20da624fe71c8952442a763a374d5",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [{"type": "text", "text": "An async function gives way while it waits."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 13,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 87,
    },
    "asahi": {
        "request_id": _REQUEST,
        "model": "claude-haiku-5-5",
        "provider": "anthropic",
        "cost_usd": 0.000448,
        "cost_original_usd": 0.000448,
        "savings_usd": 0,
        "cache_hit": False,
        "cache_tier": 0,
        "routing_mode": "explicit",
        "routing_reason": "claude-haiku-5-5 was named; about $0.00044 expected.",
        "optimization_techniques": [],
    },
}
ANTHROPIC_EXAMPLES: dict[str, dict[str, Any]] = {
    "MessagesBody": {
        "Asahi chooses the model": {
            "model": "asahi",
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": "Explain async/await in Python."}],
        },
        "streamed, with a tool": {
            "model": "claude-sonnet-5-5",
            "max_tokens": 512,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "tools": [_TOOL],
            "messages": [_QUESTION],
            "stream": True,
        },
    },
    "MessageAnswer": {"an answer": _MESSAGE},
    "CountTokensBody": {
        "a question with a tool": {"model": "claude-sonnet-5-5", "tools": [_TOOL], "messages": [_QUESTION]}
    },
    "CountTokensAnswer": {
        "counted by the provider": {
            "input_tokens": 21,
            "asahi": {
                "request_id": _REQUEST,
                "model": "claude-sonnet-5-5",
                "provider": "anthropic",
                "estimated": False,
            },
        }
    },
}
