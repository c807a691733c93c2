"""Puts the chunks of a streamed answer together to the body that a plain answer would have had."""

from collections.abc import Iterable
from typing import Any

import msgspec

_REPLACED = frozenset({"id", "index", "type", "role", "name", "object", "finish_reason"})
_PADDING = "obfuscation"


def assemble(events: Iterable[bytes]) -> bytes:
    """A `chat.completion` of `chat.completion.chunk`s. Fields that are not known are joined like those that are."""
    body: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        chunk: dict[str, Any] = msgspec.json.decode(event)
        for choice in chunk.pop("choices", None) or ():
            index = choice.get("index", 0)
            kept = choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": None}})
            _join(kept["message"], choice.pop("delta", None) or {})
            _join(kept, choice)
        for name, value in chunk.items():
            if name != _PADDING and (value is not None or name not in body):
                body[name] = value
    body["object"] = "chat.completion"
    body["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    if body.get("usage", 0) is None:
        del body["usage"]
    return msgspec.json.encode(body)


def _join(kept: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        before = kept.get(name)
        if before is None or value is None or name in _REPLACED:
            if value is None:
                kept.setdefault(name, None)
            elif isinstance(value, list) and _indexed(value):
                kept[name] = _joined_by_index([], value)
            elif value or not (before and isinstance(value, str)):
                kept[name] = value
        elif isinstance(before, str) and isinstance(value, str):
            kept[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            _join(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            kept[name] = _joined_by_index(before, value) if _indexed(value) else before + value
        else:
            kept[name] = value


def _indexed(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "index" in item for item in items)


def _joined_by_index(kept: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for item in more:
        found = next((one for one in kept if one.get("index") == item["index"]), None)
        if found is None:
            found = {}
            kept.append(found)
        _join(found, item)
    return kept


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    """Tool calls of a plain answer have no index."""
    for call in choice["message"].get("tool_calls") or ():
        call.pop("index", None)
    choice.setdefault("finish_reason", None)
    return choice
