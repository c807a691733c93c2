"""The events that would have streamed a stored response, all but the last of them."""

from collections.abc import Iterator
from itertools import count
from typing import Any

_TEXTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
_Event = dict[str, Any]


def replayed(stored: dict[str, Any]) -> Iterator[_Event]:
    """From `response.created` to the last `response.output_item.done`, numbered."""
    for number, event in zip(count(), _events(stored), strict=False):
        yield {**event, "sequence_number": number}


def _events(stored: dict[str, Any]) -> Iterator[_Event]:
    opening = {**stored, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    opening.pop("completed_at", None)
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    for index, item in enumerate(stored.get("output") or ()):
        yield from _item(item, index)


def _item(item: dict[str, Any], index: int) -> Iterator[_Event]:
    place = {"item_id": item.get("id"), "output_index": index}
    start = {**item, "status": "in_progress"}
    is_call = item.get("type") == "function_call"
    if "content" in item:
        start["content"] = []
    if is_call:
        start["arguments"] = ""
    yield {"type": "response.output_item.added", "output_index": index, "item": start}
    for number, part in enumerate(item.get("content") or ()):
        yield from _part(part, {**place, "content_index": number})
    if is_call:
        arguments = item.get("arguments", "")
        if arguments:
            yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
        done = {"name": item.get("name"), "arguments": arguments}
        yield {"type": "response.function_call_arguments.done", **place, **done}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part(part: dict[str, Any], place: dict[str, Any]) -> Iterator[_Event]:
    kind = part["type"]
    name = _TEXTS[kind]
    more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
    yield {"type": "response.content_part.added", **place, "part": {**part, name: ""}}
    yield {"type": f"response.{kind}.delta", **place, "delta": part[name], **more}
    yield {"type": f"response.{kind}.done", **place, name: part[name], **more}
    yield {"type": "response.content_part.done", **place, "part": part}
