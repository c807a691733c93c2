"""`POST /v1/messages`: Anthropic's API. The provider's answer goes on as it is, with `asahi` added."""

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_edge.api.answers import inference_headers, note_in_log
from asahi_edge.api.authentication import authorize
from asahi_edge.api.callers import HttpCaller
from asahi_edge.api.directives import refuse_idempotency_key
from asahi_edge.api.events import open_stream
from asahi_edge.api.json import convert, decode_object, read_body
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.message_answers import message, message_events
from asahi_edge.api.openapi.operations import documented_messages
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.schemas.anthropic import MessagesBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization

router = APIRouter(prefix="/v1", tags=["Anthropic-compatible"])


@router.post("/messages", **documented_messages())
async def messages(request: Request) -> Response:
    """Answer a conversation in Anthropic's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    refuse_idempotency_key(request.headers)
    body = await read_body(request, services.max_body_bytes)
    decoded = decode_object(body)
    asked = convert(decoded, MessagesBody)
    require_organization(verdict, asked.organization_id)
    inference = native_question(verdict, Api.API_ANTHROPIC_MESSAGES, body, decoded, request.headers)
    limit_time(inference.routing)
    if inference.stream:
        headers: dict[str, str] = {}
        return await open_stream(request, message_events(request, inference, headers), headers, error_name="error")
    result = await services.pipeline.infer(inference, HttpCaller(request), told_in_headers(request))
    note_in_log(request, result)
    return Response(message(inference, result), headers=inference_headers(result), media_type="application/json")
