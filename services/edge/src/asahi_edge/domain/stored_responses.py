"""Conversations that the cache service keeps: gone on with, and listed item by item.

What was said before goes to the model as if the caller had sent it, so that any provider can go on with it, and so that
equal conversations are equal questions, whatever their responses are called.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from asahi.cache.v1.responses_pb2 import ConversationTurn, GetResponseResponse
from asahi_core.errors import NotFound

Item = dict[str, Any]
_items = msgspec.json.Decoder(list[Item])
_ABOUT_ITEMS = ("id", "status")
_NAMES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response to be kept."""

    organization_id: str
    response_id: str
    previous_id: str
    """The response that it goes on with; empty: none."""
    user_id: str
    input_json: bytes
    """The items that were asked, without those of earlier turns."""
    output_json: bytes
    response_json: bytes
    """As it was answered, without its output."""
    keep_s: float


class ResponseStore(Protocol):
    """The cache service, as far as it keeps responses. Raises NotFound, ServiceUnavailable."""

    async def keep_response(self, response: KeptResponse) -> None:
        """Keeps a response."""
        ...

    async def get_response(self, organization_id: str, response_id: str) -> GetResponseResponse:
        """A kept response."""
        ...

    async def conversation(self, organization_id: str, response_id: str) -> Sequence[ConversationTurn]:
        """What was said up to a response and with it, oldest first."""
        ...

    async def delete_response(self, organization_id: str, response_id: str) -> None:
        """Drops a response."""
        ...

    async def erase_responses(self, organization_id: str, user_id: str = "") -> int:
        """Drops the responses of an organisation or of one of its end users; how many."""
        ...


def input_items(asked: str | list[Item]) -> list[Item]:
    """What a question asks, as items."""
    return [{"role": "user", "content": asked}] if isinstance(asked, str) else asked


def said_before(turns: Iterable[ConversationTurn]) -> list[Item]:
    """A conversation as the beginning of a question."""
    return [
        item
        for turn in turns
        for item in (*_items.decode(turn.input_json), *_asked_again(_items.decode(turn.output_json)))
    ]


def _asked_again(output: Iterable[Item]) -> Iterable[Item]:
    """What a model said, as it is told to a model; thoughts that nobody signed or sealed are taken back by none."""
    for item in output:
        kind = item.get("type")
        if kind in {"message", "function_call"}:
            yield {name: value for name, value in item.items() if name not in _ABOUT_ITEMS}
        elif kind != "reasoning" or item.get("encrypted_content"):
            yield item


def listed_items(turns: Sequence[ConversationTurn]) -> list[Item]:
    """All that the last response of a conversation was asked, oldest first: items with ids, texts as parts.

    Ids that the caller did not give are the same whenever they are listed.
    """
    listed: list[Item] = []
    for turn in turns:
        asked = _items.decode(turn.input_json)
        listed += [_listed(item, turn.response_id, number) for number, item in enumerate(asked)]
        if turn is not turns[-1]:
            listed += _items.decode(turn.output_json)
    return listed


def _listed(item: Item, response_id: str, number: int) -> Item:
    kind = item.get("type", "message")
    name = f"{_NAMES.get(kind, 'item')}_{response_id.removeprefix('resp_')}_in{number}"
    whole = {"id": name, "type": kind, **item}
    if kind == "message":
        whole.setdefault("status", "completed")
        content = item.get("content")
        if isinstance(content, str):
            said: Item = {"type": "input_text", "text": content}
            if item.get("role") == "assistant":
                said = {"type": "output_text", "text": content, "annotations": []}
            whole["content"] = [said]
    return whole


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a list."""

    items: Sequence[Item]
    has_more: bool


def page_of(items: Sequence[Item], *, after: str | None, limit: int, newest_first: bool) -> Page:
    """The `limit` items that follow the one with the id `after`, or the first; raises NotFound where there is none."""
    ordered = list(reversed(items)) if newest_first else list(items)
    start = 0
    if after is not None:
        start = next((place + 1 for place, item in enumerate(ordered) if item.get("id") == after), 0)
        if not start:
            raise NotFound("The response was asked no item with the id that 'after' names.", param="after")
    return Page(ordered[start : start + limit], has_more=len(ordered) > start + limit)


def told_again(kept: GetResponseResponse) -> Mapping[str, msgspec.Raw]:
    """A kept response as it was answered, by field."""
    fields = msgspec.json.decode(kept.response_json, type=dict[str, msgspec.Raw])
    return {**fields, "output": msgspec.Raw(kept.output_json)}
