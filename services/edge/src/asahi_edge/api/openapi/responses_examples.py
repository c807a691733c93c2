"""Examples of bodies and answers of OpenAI's responses, by struct and by name."""

from typing import Any

RESPONSES_EXAMPLES: dict[str, dict[str, Any]] = {
    "ResponsesBody": {
        "Asahi chooses the model": {"model": "asahi", "input": "Explain async/await in Python."},
        "going on": {
            "model": "asahi",
            "previous_response_id": "resp_01a20da624fe71c8952442a763a374d5",
            "input": "And in one sentence?",
        },
        "with a tool": {
            "model": "gpt-6-luna",
            "instructions": "Answer in one sentence.",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "How is the weather in Rome?"}]}],
            "tools": [
                {
                    "type": "function",
                    "name": "weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                }
            ],
        },
    },
    "InputItemList": {
        "one question": {
            "object": "list",
            "data": [
                {
                    "id": "msg_01a20da624fe71c8952442a763a374d5_in0",
                    "type": "message",
                    "role": "user",
                    "status": "completed",
                    "content": [{"type": "input_text", "text": "Explain async/await in Python."}],
                }
            ],
            "first_id": "msg_01a20da624fe71c8952442a763a374d5_in0",
            "last_id": "msg_01a20da624fe71c8952442a763a374d5_in0",
            "has_more": False,
        }
    },
    "DeletedResponse": {
        "dropped": {"id": "resp_01a20da624fe71c8952442a763a374d5", "object": "response", "deleted": True}
    },
    "ResponseAnswer": {
        "an answer": {
            "id": "resp_01a20da624fe71c8952442a763a374d5",
            "object": "response",
            "created_at": 1795525321,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": "gpt-6.1-terra",
            "output": [
                {
                    "id": "msg_01a20da624fe71c8952442a763a374d5_0",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "An async function gives way while it waits.",
                            "annotations": [],
                            "logprobs": [],
                        }
                    ],
                }
            ],
            "usage": {
                "input_tokens": 13,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": 87,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 100,
            },
            "asahi": {
                "request_id": "01a20da6-23de-7451-967a-afcb49443661",
                "model": "gpt-6.1-terra",
                "provider": "openai",
                "cost_usd": 0.000448,
                "cost_original_usd": 0.000896,
                "savings_usd": 0.000448,
                "cache_hit": False,
                "cache_tier": 0,
                "routing_mode": "autopilot",
                "routing_reason": "gpt-6.1-terra is the cheapest of 11 models as good as gpt-6.1-sol.",
                "optimization_techniques": ["routing"],
            },
        }
    },
}
