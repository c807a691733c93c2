"""`POST /v1/messages` and its `count_tokens`: Anthropic's API. Providers' answers go on as they are, `asahi` added."""

from functools import partial

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_edge.api.answering import Told, answer
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.json import convert, decode_object
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.message_answers import message, message_events, token_count
from asahi_edge.api.openapi.operations import documented_count_tokens, documented_messages
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.schemas.anthropic import CountTokensBody, MessagesBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization

router = APIRouter(prefix="/v1", tags=["Anthropic-compatible"])


@router.post("/messages", **documented_messages())
async def messages(request: Request) -> Response:
    """Answer a conversation in Anthropic's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = await read_body(request)
    decoded = decode_object(body)
    asked = convert(decoded, MessagesBody)
    require_organization(verdict, asked.organization_id)
    inference = native_question(verdict, Api.API_ANTHROPIC_MESSAGES, body, decoded, request.headers)
    limit_time(inference.routing)
    told = Told(
        whole=partial(message, inference),
        events=partial(message_events, request, inference),
        error_name="error",
    )
    return await answer(request, inference, body, told)


@router.post("/messages/count_tokens", **documented_count_tokens())
async def count_tokens(request: Request) -> Response:
    """Count the tokens of a conversation, as the model's provider does; else estimate them. Costs nothing."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = await read_body(request)
    decoded = decode_object(body)
    require_organization(verdict, convert(decoded, CountTokensBody).organization_id)
    inference = native_question(verdict, Api.API_ANTHROPIC_MESSAGES, body, decoded, request.headers)
    counted = await services.pipeline.count_tokens(inference, services.counter, told_in_headers(request))
    headers = {"x-asahi-model": counted.model}
    return Response(token_count(inference, counted), headers=headers, media_type="application/json")
