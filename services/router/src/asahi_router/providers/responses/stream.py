"""Streamed answers in the form of OpenAI's responses: a state machine of one open item with at most one open part."""

from collections.abc import Iterator
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import FinishReason
from asahi.type.v1.usage_pb2 import Usage
from asahi_router.providers.dialect import (
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Mark,
    Piece,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
)
from asahi_router.providers.responses.seals import seal

_TEXT, _REFUSAL, _REASONING = "output_text", "refusal", "reasoning_text"
_SAYS = {_TEXT: "text", _REFUSAL: "refusal", _REASONING: "text"}
"""The field that holds what a part says."""
_EVENTS = {_TEXT: "response.output_text", _REFUSAL: "response.refusal", _REASONING: "response.reasoning_text"}
_INCOMPLETE: dict[FinishReason.ValueType, str] = {
    FinishReason.FINISH_REASON_LENGTH: "max_output_tokens",
    FinishReason.FINISH_REASON_CONTENT_FILTER: "content_filter",
}
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
Event = dict[str, Any]


class ResponseStreamWriter:
    """Writes the events from `response.created` to `response.completed` or `response.incomplete`."""

    def __init__(self, model: str, created: int) -> None:
        self._model = model
        self._created = created
        self._number = -1
        self._name = ""
        self._item: dict[str, Any] | None = None
        self._part: dict[str, Any] | None = None
        self._said: list[str] = []
        self._refused = False
        self.response: dict[str, Any] = {}
        """As far as it has come."""

    def write(self, piece: Piece) -> Iterator[tuple[Mark, bytes]]:
        """The events that say `piece`, numbered."""
        for event in self._events(piece):
            self._number += 1
            yield Mark.PLAIN, msgspec.json.encode({**event, "sequence_number": self._number})

    def _events(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case Began(id=foreign_id):
                self._begin(foreign_id)
                yield {"type": "response.created", "response": self.response}
                yield {"type": "response.in_progress", "response": self.response}
            case TextPiece(text=text):
                yield from self._say("message", _TEXT, text)
            case RefusalPiece(text=text):
                self._refused = True
                yield from self._say("message", _REFUSAL, text)
            case ThinkingPiece(text=text, signature=signature, redacted=redacted):
                if redacted:
                    yield from self._leave("completed")
                if text:
                    yield from self._say("reasoning", _REASONING, text)
                if signature or redacted:
                    yield from self._enter("reasoning")
                    if self._item is not None:
                        self._item["encrypted_content"] = seal(signature or redacted)
                    yield from self._leave("completed")
            case CallBegan(id=call_id, name=name):
                yield from self._leave("completed")
                yield from self._enter("function_call", call_id=call_id, name=name, arguments="")
            case CallPiece(arguments=arguments) if arguments:
                self._said.append(arguments)
                yield {"type": "response.function_call_arguments.delta", **self._place(), "delta": arguments}
            case Ended(finish_reason=reason, usage=usage):
                yield from self._end(reason, usage)

    def _begin(self, foreign_id: str) -> None:
        self._name = foreign_id.removeprefix("chatcmpl-").removeprefix("msg_")
        self.response = {
            "id": f"resp_{self._name}",
            "object": "response",
            "created_at": self._created,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": [],
            "usage": None,
        }

    def _end(self, reason: FinishReason.ValueType, usage: Usage | None) -> Iterator[Event]:
        """A refusal in the model's own words is a whole answer."""
        why = None if self._refused else _INCOMPLETE.get(reason)
        status = "completed" if why is None else "incomplete"
        yield from self._leave(status)
        self.response["status"] = status
        if why is None:
            self.response["completed_at"] = self._created
        else:
            self.response["incomplete_details"] = {"reason": why}
        if usage is not None:
            self.response["usage"] = written_usage(usage)
        yield {"type": f"response.{status}", "response": self.response}

    def _say(self, kind: str, part: str, text: str) -> Iterator[Event]:
        if not text:
            return
        yield from self._enter(kind)
        if self._part is None or self._part["type"] != part:
            yield from self._leave_part()
            self._part = {"type": part, _SAYS[part]: ""}
            if part == _TEXT:
                self._part |= {"annotations": [], "logprobs": []}
            yield {"type": "response.content_part.added", **self._part_place(), "part": self._part}
        self._said.append(text)
        more: dict[str, Any] = {"logprobs": []} if part == _TEXT else {}
        yield {"type": f"{_EVENTS[part]}.delta", **self._part_place(), "delta": text, **more}

    def _enter(self, kind: str, **fields: Any) -> Iterator[Event]:
        """Opens an item, unless one of that kind is open that can go on."""
        if self._item is not None and self._item["type"] == kind:
            return
        yield from self._leave("completed")
        item: dict[str, Any] = {
            "id": f"{_PREFIXES[kind]}_{self._name}_{len(self.response['output'])}",
            "type": kind,
            "status": "in_progress",
            **fields,
        }
        if kind == "message":
            item |= {"role": "assistant", "content": []}
        elif kind == "reasoning":
            item |= {"summary": [], "content": []}
        self._item = item
        yield {"type": "response.output_item.added", "output_index": len(self.response["output"]), "item": item}

    def _leave(self, status: str) -> Iterator[Event]:
        item = self._item
        if item is None:
            return
        yield from self._leave_part()
        if item["type"] == "function_call":
            item["arguments"] = "".join(self._said)
            self._said.clear()
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **self._place(), **done}
        item["status"] = status
        yield {"type": "response.output_item.done", "output_index": len(self.response["output"]), "item": item}
        self.response["output"].append(item)
        self._item = None

    def _leave_part(self) -> Iterator[Event]:
        part = self._part
        if part is None or self._item is None:
            return
        text, name = "".join(self._said), _SAYS[part["type"]]
        self._said.clear()
        part[name] = text
        more: dict[str, Any] = {"logprobs": []} if part["type"] == _TEXT else {}
        yield {"type": f"{_EVENTS[part['type']]}.done", **self._part_place(), name: text, **more}
        yield {"type": "response.content_part.done", **self._part_place(), "part": part}
        self._item["content"].append(part)
        self._part = None

    def _place(self) -> dict[str, Any]:
        item_id = self._item["id"] if self._item is not None else ""
        return {"item_id": item_id, "output_index": len(self.response["output"])}

    def _part_place(self) -> dict[str, Any]:
        content = self._item["content"] if self._item is not None else ()
        return {**self._place(), "content_index": len(content)}


def written_usage(usage: Usage) -> dict[str, Any]:
    """`usage`: the prompt's tokens include what was read from and written to a cache."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    prompt = usage.input_tokens + usage.cache_read_tokens + written
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": prompt + usage.output_tokens,
    }
