"""`POST /v1/chat/completions`: OpenAI's API. The provider's answer goes on as it is, with `asahi` added."""

from typing import Any

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import InvalidRequest
from asahi_edge.api.answers import inference_headers, note_in_log
from asahi_edge.api.authentication import authorize
from asahi_edge.api.callers import HttpCaller
from asahi_edge.api.chat_answers import chat_completion, chat_events
from asahi_edge.api.directives import refuse_idempotency_key
from asahi_edge.api.events import open_stream
from asahi_edge.api.json import decode_object, read_body
from asahi_edge.api.openapi import documented_openai_chat
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.services import services_of

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.post("/chat/completions", **documented_openai_chat())
async def chat_completions(request: Request) -> Response:
    """Answer a conversation in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    refuse_idempotency_key(request.headers)
    body = await read_body(request, services.max_body_bytes)
    decoded = decode_object(body)
    _check(decoded)
    inference = native_question(verdict, Api.API_OPENAI_CHAT_COMPLETIONS, body, decoded, request.headers)
    limit_time(inference.routing)
    if inference.stream:
        headers: dict[str, str] = {}
        wants_usage = (decoded.get("stream_options") or {}).get("include_usage") is True
        return await open_stream(request, chat_events(request, inference, headers, wants_usage=wants_usage), headers)
    result = await services.pipeline.infer(inference, HttpCaller(request))
    note_in_log(request, result)
    return Response(
        chat_completion(inference, result), headers=inference_headers(result), media_type="application/json"
    )


def _check(decoded: dict[str, Any]) -> None:
    """Only what Asahi itself needs is checked; all else is the provider's to judge."""
    messages = decoded.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list of at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("A message must be an object with a 'role'.", param=f"messages[{index}]")
    if not isinstance(decoded.get("model"), str | None):
        raise InvalidRequest("'model' must be a string; leave it out to let Asahi choose.", param="model")
    if not isinstance(decoded.get("stream"), bool | None):
        raise InvalidRequest("'stream' must be true or false.", param="stream")
    if not isinstance(decoded.get("stream_options"), dict | None):
        raise InvalidRequest("'stream_options' must be an object.", param="stream_options")
