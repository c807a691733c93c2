"""Puts the events of a streamed answer together to the body that a plain answer would have had."""

from collections.abc import Iterable
from typing import Any

import msgspec

from asahi_router.providers.anthropic.answer import arguments

_APPENDED = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}


def assemble(events: Iterable[bytes]) -> bytes:
    """A `message`. Fields that are not known are kept as they came last."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, list[str]] = {}
    counted = False
    for encoded in events:
        event: dict[str, Any] = msgspec.json.decode(encoded)
        match event.get("type"):
            case "message_start":
                message = event["message"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                _append(blocks[event["index"]], event["delta"], inputs.setdefault(event["index"], []))
            case "message_delta":
                message |= event.get("delta") or {}
                counted |= _count(message, event.get("usage"))
    for index, pieces in inputs.items():
        if pieces:
            blocks[index]["input"] = arguments("".join(pieces))
    if not counted and isinstance(message.get("usage"), dict):
        message["usage"].pop("output_tokens", None)
    message["content"] = [blocks[index] for index in sorted(blocks)]
    return msgspec.json.encode(message)


def _count(message: dict[str, Any], told: Any) -> bool:
    """Takes in a cumulative usage. Whether it counts the output: the first event does not count the whole."""
    if told is None:
        return False
    before = message.get("usage")
    if isinstance(told, dict) and (before is None or isinstance(before, dict)):
        message["usage"] = (before or {}) | {name: value for name, value in told.items() if value is not None}
        return told.get("output_tokens") is not None
    message["usage"] = told
    return True


def _append(block: dict[str, Any], delta: dict[str, Any], inputs: list[str]) -> None:
    kind = delta.get("type", "")
    name = _APPENDED.get(kind)
    if name is not None:
        block[name] = (block.get(name) or "") + delta[name]
    elif kind == "input_json_delta":
        inputs.append(delta["partial_json"])
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
    else:
        block |= {name: value for name, value in delta.items() if name != "type"}
