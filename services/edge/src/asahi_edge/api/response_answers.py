"""Answers in the form of OpenAI's responses: what was asked is repeated in each, and `asahi` added to the last word."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import Request

from asahi_core.errors import AsahiError
from asahi_edge.api.answers import asahi_object, inference_headers, note_in_log, opening_headers
from asahi_edge.api.errors import error_body
from asahi_edge.api.events import event
from asahi_edge.api.json import encode
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.response_replay import replayed
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

_whole = msgspec.json.Decoder()
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
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response says of its question, and what it says where the question did not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and its body as it was written."""

    inference: InferenceRequest
    body: Mapping[str, Any]

    def repeated(self) -> dict[str, Any]:
        """What the answer repeats of it."""
        given = {name: value for name in _REPEATED if (value := self.body.get(name)) is not None}
        if given.get("service_tier") == "auto":
            given["service_tier"] = "default"
        return {**_REPEATED, **given}


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int = 0
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_typed = msgspec.json.Decoder(_Event)


def response(asked: Asked, result: InferenceResult) -> bytes:
    """A plain answer; one that stood for a call has an id and a time of its own, as a new answer has."""
    return encode(_with_asahi(_own(asked, result), asked, result))


async def response_events(request: Request, asked: Asked, headers: dict[str, str]) -> AsyncGenerator[bytes, None]:
    """A streamed answer. `asahi` comes with the last event's response; an error ends it without one.

    Fills `headers` before the first event.
    """
    inference = asked.inference
    begun = False
    last: _Event | None = None
    number = 0
    try:
        async with aclosing(services_of(request).pipeline.stream(inference, told_in_headers(request))) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    note_in_log(request, piece)
                    if not begun:
                        headers |= inference_headers(piece)
                        for told in replayed(_own(asked, piece)):
                            yield _event(told)
                            number = told["sequence_number"]
                    said = _own(asked, piece) if last is None else _whole.decode(_bytes(last)) | asked.repeated()
                    kind = f"response.{said['status']}"
                    order = number + 1 if last is None else last.sequence_number
                    said = _with_asahi(said, asked, piece)
                    yield _event({"type": kind, "response": said, "sequence_number": order})
                elif piece.HasField("opening"):
                    headers |= opening_headers(piece.opening, bypass=not inference.cache.read)
                    continue  # the first event says it
                else:
                    read = _typed.decode(piece.event_json)
                    number = read.sequence_number
                    if read.response is msgspec.UNSET:
                        yield event(piece.event_json, read.type)
                    elif read.type in {"response.completed", "response.incomplete"}:
                        last = read
                    else:
                        said = _whole.decode(_bytes(read)) | asked.repeated()
                        yield _event({"type": read.type, "response": said, "sequence_number": number})
                begun = True
    except AsahiError as error:
        if not begun:
            raise
        yield _error(request, error, number + 1)


def _bytes(read: _Event) -> bytes:
    return b"{}" if isinstance(read.response, msgspec.UnsetType) else bytes(read.response)


def _event(told: Mapping[str, Any]) -> bytes:
    return event(encode(told), told["type"])


def _error(request: Request, error: AsahiError, number: int) -> bytes:
    """The last event of an answer that had begun: the contract's error, and what this protocol's event has."""
    request.scope["asahi"]["error"] = error.code
    flat = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
    contract: dict[str, Any] = _whole.decode(encode(error_body(error)))
    return _event({**contract, **flat, "sequence_number": number})


def _own(asked: Asked, result: InferenceResult) -> dict[str, Any]:
    body: dict[str, Any] = _whole.decode(result.answer.native.body)
    if result.reused:
        body["id"] = f"resp_{asked.inference.request_id}"
        body["created_at"] = body["completed_at"] = int(time.time())
    return body | asked.repeated()


def _with_asahi(body: dict[str, Any], asked: Asked, result: InferenceResult) -> dict[str, Any]:
    return {**body, "asahi": asahi_object(asked.inference, result)}
