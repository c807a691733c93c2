"""The events that would have streamed a stored answer of Anthropic's protocol, all but the last of them."""

from collections.abc import Iterator
from typing import Any

import msgspec

from asahi_edge.api.json import encode

_whole = msgspec.json.Decoder()
_AT_THE_END = ("stop_reason", "stop_sequence", "stop_details", "container")
"""What a stream tells with `message_delta` in place of `message_start`."""
_Event = tuple[str, bytes]


def replayed(body: bytes, message_id: str) -> Iterator[_Event]:
    """Names and data from `message_start` to `message_delta`; `message_stop`, which says no more, is left out."""
    stored: dict[str, Any] = _whole.decode(body)
    usage = stored.get("usage")
    opening = {name: value for name, value in stored.items() if name not in {"content", *_AT_THE_END}}
    opening |= {"id": message_id, "content": [], "stop_reason": None, "stop_sequence": None}
    if isinstance(usage, dict):
        opening["usage"] = {**usage, "output_tokens": 0}
    yield _event("message_start", message=opening)
    yield _event("ping")
    for index, block in enumerate(stored.get("content") or ()):
        start, deltas = _pieces(block)
        yield _event("content_block_start", index=index, content_block=start)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    ending = {"stop_reason": None, "stop_sequence": None}
    ending |= {name: stored[name] for name in _AT_THE_END if name in stored}
    told = {} if usage is None else {"usage": usage}
    yield _event("message_delta", delta=ending, **told)


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins, and what comes after. Blocks of other kinds than these begin whole."""
    match block.get("type"):
        case "text":
            cited = block.get("citations")
            start = {**block, "text": ""} | ({"citations": []} if cited else {})
            deltas = [{"type": "citations_delta", "citation": one} for one in cited or ()]
            text = block.get("text")
            return start, [*deltas, {"type": "text_delta", "text": text}] if text else deltas
        case "thinking":
            start = {**block, "thinking": ""} | ({"signature": ""} if "signature" in block else {})
            deltas = [
                {"type": f"{name}_delta", name: block[name]} for name in ("thinking", "signature") if block.get(name)
            ]
            return start, deltas
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            arguments = msgspec.json.encode(block.get("input")).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": arguments}]
        case _:
            return block, []


def _event(name: str, **fields: Any) -> _Event:
    return name, encode({"type": name, **fields})
