"""Answers in the form of OpenAI's responses: kept unless the caller says otherwise, `asahi` added to the last word.

A provider's own response stays as it is but for what is Asahi's to say: whether it is kept, what it goes on with, whose
labels it has. One that was translated repeats what was asked.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
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
from asahi_edge.domain.stored_responses import KeptResponse, input_items

Raw = msgspec.Raw
_Response = dict[str, Raw]
_top_level = msgspec.json.Decoder(_Response)
_DEFAULTS: Mapping[str, Any] = {
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
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response says of its question where neither the question nor the provider did."""
_CALLERS_OWN = ("metadata", "previous_response_id", "user")
"""What may differ between questions that one answer serves."""
_MISSING = "stored_responses"
_NO_OUTPUT = Raw(b"[]")


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int = 0
    response: Raw | msgspec.UnsetType = msgspec.UNSET


_typed = msgspec.json.Decoder(_Event)
_LAST = frozenset({"response.completed", "response.incomplete"})


class ResponseTeller:
    """Tells the answer to one question."""

    def __init__(self, request: Request, inference: InferenceRequest, asked: Mapping[str, Any], keep_s: float) -> None:
        """`asked`: the body as its caller wrote it; `keep_s`: seconds that the answer is kept, 0: not at all."""
        self._request = request
        self._inference = inference
        self._asked = asked
        self._keep_s = keep_s
        self._repeated = self._repeat()
        self._kept = keep_s > 0
        self._said: _Response = {}

    async def settle(self, result: InferenceResult) -> InferenceResult:
        """Keeps a plain answer, or says that it is not kept."""
        self._said = self._own(result)
        return await self._settle(result)

    def whole(self, result: InferenceResult) -> bytes:
        """A plain answer that is settled."""
        return encode(self._said)

    async def events(self, headers: dict[str, str]) -> AsyncGenerator[bytes, None]:
        """A streamed answer, kept before its last event is told. An error ends it without one.

        Fills `headers` before the first event.
        """
        inference, begun = self._inference, False
        last = _Event(sequence_number=-1)
        pipeline = services_of(self._request).pipeline
        try:
            async with aclosing(pipeline.stream(inference, told_in_headers(self._request))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, InferenceResult):
                        note_in_log(self._request, piece)
                        result = await self._settle(self._ended(piece, last))
                        if not begun:
                            headers |= inference_headers(result)
                            for told in replayed(self._told_before()):
                                yield _event(told)
                                last = _Event(sequence_number=told["sequence_number"] + 1)
                        yield self._end(last.sequence_number)
                    elif piece.HasField("opening"):
                        headers |= opening_headers(piece.opening, bypass=not inference.cache.read)
                        continue  # the first event says it
                    else:
                        last = _typed.decode(piece.event_json)
                        if last.type not in _LAST:
                            yield self._passed_on(piece.event_json, last)
                    begun = True
        except AsahiError as error:
            if not begun:
                raise
            yield self._error(error, last.sequence_number + 1)

    def _ended(self, result: InferenceResult, last: _Event) -> InferenceResult:
        """Takes in what the stream said at its end, or the whole answer where nothing was streamed."""
        if isinstance(last.response, msgspec.UnsetType) or last.type not in _LAST:
            self._said = self._own(result)
        else:
            self._said = self._with_own(_top_level.decode(last.response))
        return result

    def _told_before(self) -> dict[str, Any]:
        """The answer as far as it is told before its last event."""
        said: dict[str, Any] = msgspec.json.decode(
            encode({name: raw for name, raw in self._said.items() if name != "asahi"})
        )
        return said

    def _end(self, number: int) -> bytes:
        kind = f"response.{msgspec.json.decode(self._said['status'], type=str)}"
        return _event({"type": kind, "response": self._said, "sequence_number": number})

    def _passed_on(self, told: bytes, read: _Event) -> bytes:
        """A provider's event as it came, but for what is Asahi's to say of the response."""
        if isinstance(read.response, msgspec.UnsetType):
            return event(told, read.type)
        fields = _top_level.decode(told)
        fields["response"] = Raw(encode(self._with_own(_top_level.decode(read.response))))
        return event(encode(fields), read.type)

    def _own(self, result: InferenceResult) -> _Response:
        """The answer as this caller's; one that stood for a call has an id and a time of its own, as a new one has."""
        body = _top_level.decode(result.answer.native.body)
        if result.reused:
            now = Raw(encode(int(time.time())))
            body |= {"id": Raw(encode(f"resp_{self._inference.request_id}")), "created_at": now}
            if "completed_at" in body:
                body["completed_at"] = now
        return self._with_own(body)

    def _with_own(self, body: _Response) -> _Response:
        own = {name: self._repeated[name] for name in _CALLERS_OWN}
        return {**self._repeated, **body, **own, "store": Raw(encode(self._kept))}

    def _repeat(self) -> _Response:
        given = {name: value for name in _DEFAULTS if (value := self._asked.get(name)) is not None}
        if given.get("service_tier") == "auto":
            given["service_tier"] = "default"
        return {name: Raw(encode(value)) for name, value in {**_DEFAULTS, **given}.items()}

    async def _settle(self, result: InferenceResult) -> InferenceResult:
        """Keeps what is said; where that fails, the answer says that it is not kept."""
        self._said["asahi"] = Raw(encode(asahi_object(self._inference, result)))
        if not self._keep_s:
            return result
        try:
            await services_of(self._request).responses.keep_response(self._to_keep())
        except AsahiError:
            self._kept = False
            self._said["store"] = Raw(b"false")
            return replace(result, degraded=(*result.degraded, _MISSING))
        return result

    def _to_keep(self) -> KeptResponse:
        inference = self._inference
        return KeptResponse(
            organization_id=inference.organization_id,
            response_id=msgspec.json.decode(self._said["id"], type=str),
            previous_id=self._asked.get("previous_response_id") or "",
            user_id=inference.user_id,
            input_json=encode(input_items(self._asked["input"])),
            output_json=bytes(self._said.get("output", _NO_OUTPUT)),
            response_json=encode({name: raw for name, raw in self._said.items() if name != "output"}),
            keep_s=self._keep_s,
        )

    def _error(self, error: AsahiError, number: int) -> bytes:
        """The last event of an answer that had begun: the contract's error, and what this protocol's event has."""
        self._request.scope["asahi"]["error"] = error.code
        flat = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        contract: dict[str, Any] = msgspec.json.decode(encode(error_body(error)))
        return _event({**contract, **flat, "sequence_number": number})


def _event(told: Mapping[str, Any]) -> bytes:
    return event(encode(told), told["type"])
