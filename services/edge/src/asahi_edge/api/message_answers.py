"""Answers in Anthropic's protocol: the provider's own bodies and events, with `asahi` added to the last of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from fastapi import Request

from asahi.router.v1.router_pb2 import CountTokensResponse
from asahi_core.errors import AsahiError
from asahi_edge.api.answers import asahi_object, inference_headers, note_in_log, opening_headers
from asahi_edge.api.events import error_event, event
from asahi_edge.api.json import encode
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.message_replay import replayed
from asahi_edge.api.schemas.anthropic import CountObject
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

_top_level = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LAST = "message_stop"
_STOP = b'{"type":"message_stop"}'


class _Event(msgspec.Struct):
    type: str = ""


_typed = msgspec.json.Decoder(_Event)


def message(request: InferenceRequest, result: InferenceResult) -> bytes:
    """A plain answer; one that stood for a call has an id of its own, as a new answer has."""
    body = _top_level.decode(result.answer.native.body)
    if result.reused:
        body["id"] = msgspec.Raw(encode(_own_id(request)))
    body["asahi"] = msgspec.Raw(encode(asahi_object(request, result)))
    return msgspec.json.encode(body)


def token_count(request: InferenceRequest, counted: CountTokensResponse) -> bytes:
    """How many tokens the question has: the provider's own words, or an estimate, which says that it is one."""
    body = _top_level.decode(counted.answer_json or encode({"input_tokens": counted.input_tokens}))
    told = CountObject(
        request_id=request.request_id, model=counted.model, provider=counted.provider, estimated=counted.estimated
    )
    body["asahi"] = msgspec.Raw(encode(told))
    return msgspec.json.encode(body)


async def message_events(
    request: Request, inference: InferenceRequest, headers: dict[str, str]
) -> AsyncGenerator[bytes, None]:
    """A streamed answer. `asahi` comes with `message_stop`; an error ends it without one.

    Fills `headers` before the first event.
    """
    begun = False
    try:
        async with aclosing(services_of(request).pipeline.stream(inference, told_in_headers(request))) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    note_in_log(request, piece)
                    if not begun:
                        headers |= inference_headers(piece)
                        for name, data in replayed(piece.answer.native.body, _own_id(inference)):
                            yield event(data, name)
                    last = _top_level.decode(_STOP)
                    last["asahi"] = msgspec.Raw(encode(asahi_object(inference, piece)))
                    yield event(msgspec.json.encode(last), _LAST)
                elif piece.HasField("opening"):
                    headers |= opening_headers(piece.opening, bypass=not inference.cache.read)
                    continue  # the first event says it
                else:
                    name = _typed.decode(piece.event_json).type
                    if name != _LAST:
                        yield event(piece.event_json, name)
                begun = True
    except AsahiError as error:
        if not begun:
            raise
        yield error_event(request, error, "error")


def _own_id(request: InferenceRequest) -> str:
    return f"msg_{request.request_id}"
