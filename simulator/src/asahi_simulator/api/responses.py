"""OpenAI's responses, plain and streamed: reasoning items, messages, calls of functions and of its own tools."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from asahi_simulator.api.dialect import Failure, Reply, StreamItem
from asahi_simulator.api.exchange import Header
from asahi_simulator.api.openai import OpenAI
from asahi_simulator.api.responses_request import read_request
from asahi_simulator.domain.completion import Answer, CompletionRequest, ToolCall, Usage
from asahi_simulator.domain.prompt_cache import CacheUse, PromptCache
from asahi_simulator.domain.rules import Api

_Item = dict[str, Any]
_Told = tuple[bool, dict[str, Any] | None]
"""Whether a token is generated for an event, and the event; None: the token is not shown."""
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_REPEATED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response says of its question, and what it says where the question did not."""


class Responses:
    """The `Dialect` of `POST /v1/responses`."""

    api: Api = "openai"

    def __init__(self) -> None:
        self._chat = OpenAI()

    def read(self, body: bytes) -> CompletionRequest:
        """The request in `body`; raises WrongBody."""
        return read_request(body)

    def cache_use(self, cache: PromptCache, request: CompletionRequest) -> CacheUse:
        """Long prefixes are cached by themselves."""
        return cache.automatic(request.model, request.prompt)

    def headers(self, request_id: str) -> list[Header]:
        """The id that OpenAI's SDK shows."""
        return self._chat.headers(request_id)

    def plain(self, reply: Reply) -> bytes:
        """A `response`."""
        writer = _Writer(reply)
        for _ in writer.events():
            pass
        return msgspec.json.encode(writer.response)

    def stream(self, reply: Reply) -> Iterator[StreamItem]:
        """Events from `response.created` to the last, numbered."""
        number = -1
        for is_token, event in _Writer(reply).events():
            if event is None:
                yield is_token, b""
                continue
            number += 1
            yield is_token, _event({**event, "sequence_number": number})

    def garbage(self, reply: Reply) -> bytes:
        """An event that ends too soon."""
        return b'event: response.output_text.delta\ndata: {"type":"response.output_te\n\n'

    def error(self, failure: Failure, request_id: str) -> bytes:
        """An error with all four fields."""
        return self._chat.error(failure, request_id)

    def stream_error(self, failure: Failure, request_id: str) -> bytes:
        """The error as an event."""
        error = msgspec.json.decode(self.error(failure, request_id))["error"]
        return _event({**error, "type": "error", "code": error["code"] or error["type"], "sequence_number": 0})


def _event(told: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(told["type"]).encode(), msgspec.json.encode(told))


class _Writer:
    """Writes a response item by item."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        asked = reply.request.asked
        given = {name: value for name in _REPEATED if (value := asked.get(name)) is not None}
        if given.get("service_tier") == "auto":
            given["service_tier"] = "default"
        self.response: dict[str, Any] = {
            "id": f"resp_{reply.id}",
            "object": "response",
            "created_at": reply.created,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": reply.request.model,
            "output": [],
            "usage": None,
            **_REPEATED,
            **given,
        }

    def events(self) -> Iterator[_Told]:
        """All events; `response` is whole after the last."""
        yield False, {"type": "response.created", "response": dict(self.response)}
        yield False, {"type": "response.in_progress", "response": dict(self.response)}
        answer = self._reply.answers[0] if self._reply.answers else Answer()
        why = _INCOMPLETE.get(answer.ending)
        status = "completed" if why is None else "incomplete"
        if answer.reasoning_tokens:
            yield from self._reasoning(answer.reasoning_tokens)
        ours = {tool.name for tool in self._reply.request.tools if tool.runs_here}
        for call in answer.tool_calls:
            yield from (self._search(call) if call.name in ours else self._call(call, status))
        if self._reply.answers and not answer.tool_calls:
            yield from self._message(answer, status)
        self.response["status"] = status
        if why is None:
            self.response["completed_at"] = self._reply.created
        else:
            self.response["incomplete_details"] = {"reason": why}
        self.response["usage"] = _usage(self._reply.usage)
        yield False, {"type": f"response.{status}", "response": self.response}

    def _reasoning(self, tokens: int) -> Iterator[_Told]:
        sealed = f"sealed:{self._reply.request.model}:{tokens}"
        item = self._item("rs", "reasoning", summary=[], encrypted_content=sealed)
        del item["status"]
        yield False, self._added(item)
        for _ in range(tokens):
            yield True, None
        yield False, self._done(item)

    def _message(self, answer: Answer, status: str) -> Iterator[_Told]:
        refused = answer.ending == "refusal"
        kind, name = ("refusal", "refusal") if refused else ("output_text", "text")
        more: dict[str, Any] = {} if refused else {"logprobs": []}
        item = self._item("msg", "message", role="assistant", content=[])
        yield False, self._added(item)
        place = {**self._place(item), "content_index": 0}
        part = {"type": kind, name: "", **({} if refused else {"annotations": [], "logprobs": []})}
        yield False, {"type": "response.content_part.added", **place, "part": dict(part)}
        said: list[str] = []
        for piece in answer.pieces:
            said.append(piece)
            yield True, {"type": f"response.{kind}.delta", **place, "delta": piece, **more}
        part[name] = "".join(said)
        yield False, {"type": f"response.{kind}.done", **place, name: part[name], **more}
        yield False, {"type": "response.content_part.done", **place, "part": part}
        item |= {"content": [part], "status": status}
        yield False, self._done(item)

    def _call(self, call: ToolCall, status: str) -> Iterator[_Told]:
        item = self._item("fc", "function_call", call_id=f"call_{call.id}", name=call.name, arguments="")
        yield True, self._added(item)
        place = self._place(item)
        for piece in call.pieces:
            yield True, {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        item |= {"arguments": "".join(call.pieces), "status": status}
        done = {"name": call.name, "arguments": item["arguments"]}
        yield False, {"type": "response.function_call_arguments.done", **place, **done}
        yield False, self._done(item)

    def _search(self, call: ToolCall) -> Iterator[_Told]:
        """A tool that the provider runs itself, here as a search of the web that finds nothing."""
        arguments = msgspec.json.decode("".join(call.pieces))
        kind = f"{call.name}_call"
        item = self._item(call.name[:2], kind, action={"type": "search", "query": arguments.get("query", "")})
        yield True, self._added(item)
        yield False, {"type": f"response.{kind}.in_progress", **self._place(item)}
        for _ in call.pieces:
            yield True, {"type": f"response.{kind}.searching", **self._place(item)}
        yield False, {"type": f"response.{kind}.completed", **self._place(item)}
        item["status"] = "completed"
        yield False, self._done(item)

    def _item(self, prefix: str, kind: str, **fields: Any) -> _Item:
        number = len(self.response["output"])
        return {"id": f"{prefix}_{self._reply.id}_{number}", "type": kind, "status": "in_progress", **fields}

    def _place(self, item: _Item) -> dict[str, Any]:
        return {"item_id": item["id"], "output_index": len(self.response["output"])}

    def _added(self, item: _Item) -> dict[str, Any]:
        index = len(self.response["output"])
        return {"type": "response.output_item.added", "output_index": index, "item": dict(item)}

    def _done(self, item: _Item) -> dict[str, Any]:
        index = len(self.response["output"])
        self.response["output"].append(item)
        return {"type": "response.output_item.done", "output_index": index, "item": item}


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
