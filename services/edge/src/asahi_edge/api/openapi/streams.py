"""Streamed answers in the OpenAPI document: an example of each, event by event."""

from typing import Any

_INFER = """event: decision
data: {"request_id":"01a20da6-23de-7451-967a-afcb49443661","model_used":"gpt-6.1-terra","provider":"openai",\
"routing_mode":"autopilot","routing_reason":"gpt-6.1-terra is the cheapest of 11 models as good as gpt-6.1-sol …",\
"cache_tier":0}

event: delta
data: {"text":"Async functions "}

event: delta
data: {"text":"give way while they wait."}

event: done
data: {"request_id":"01a20da6-23de-7451-967a-afcb49443661","response":"Async functions give way while they wait.", …}

"""
_CHAT = """data: {"id":"chatcmpl-7","object":"chat.completion.chunk","model":"gpt-6.1-terra","choices":[{"index":0,\
"delta":{"role":"assistant","content":""},"finish_reason":null}], …}

data: {"id":"chatcmpl-7","object":"chat.completion.chunk","model":"gpt-6.1-terra","choices":[{"index":0,\
"delta":{"content":"Hello!"},"finish_reason":null}], …}

data: {"id":"chatcmpl-7","object":"chat.completion.chunk","model":"gpt-6.1-terra","choices":[{"index":0,"delta":{},\
"finish_reason":"stop"}],"asahi":{"cost_usd":0.000021, …}, …}

data: [DONE]

"""
_MESSAGE = """event: message_start
data: {"type":"message_start","message":{"id":"msg_7","type":"message","role":"assistant","content":[], …}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello!"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":3, …}}

event: message_stop
data: {"type":"message_stop","asahi":{"cost_usd":0.000021, …}}

"""

_RESPONSE = """event: response.created
data: {"type":"response.created","response":{"id":"resp_01", …},"sequence_number":0}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_01_0","output_index":0,"content_index":0,"delta":"Hello!", …}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_01","asahi":{"cost_usd":0.000021, …}, …},"sequence_number":8}

"""


def _events(description: str, example: str, names: tuple[str, ...]) -> dict[str, Any]:
    data = {"type": "string", "description": "JSON; in OpenAI's protocol `[DONE]` at the end."}
    properties: dict[str, Any] = {"data": data}
    if names:
        properties["event"] = {"type": "string", "enum": list(names), "description": "The event's name."}
    schema = {"type": "object", "description": description, "required": list(properties), "properties": properties}
    return {"text/event-stream": {"schema": schema, "example": example}}


INFER_EVENTS = _events(
    "With `stream`: server-sent events, each of this form. `decision` (StreamDecision), `delta`s (StreamDelta), and "
    "`done`, which carries what a plain answer is; or `error`, which carries an error.",
    _INFER,
    ("decision", "delta", "done", "error"),
)
CHAT_EVENTS = _events(
    "With `stream`: OpenAI's server-sent events, each of this form, `asahi` in the last of them; or an error without "
    "`[DONE]` after it.",
    _CHAT,
    (),
)
MESSAGE_EVENTS = _events(
    "With `stream`: Anthropic's server-sent events in their order, each of this form, `asahi` in `message_stop`; or an "
    "`error` without `message_stop` after it.",
    _MESSAGE,
    (
        *("message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop", "error"),
    ),
)
RESPONSE_EVENTS = _events(
    "With `stream`: OpenAI's server-sent events in their order, each of this form, `asahi` in the `response` of the "
    "last; or an `error` without a last one after it.",
    _RESPONSE,
    (
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.delta", "response.output_text.done", "response.refusal.delta", "response.refusal.done"),
        *("response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done"),
        *("response.function_call_arguments.delta", "response.function_call_arguments.done"),
        *("response.output_item.done", "response.completed", "response.incomplete", "error"),
    ),
)
