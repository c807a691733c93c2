"""`POST /v1/chat/completions`: OpenAI's API. The provider's answer goes on as it is, with `asahi` added."""

from functools import partial

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_edge.api.answering import Told, answer
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.chat_answers import chat_completion, chat_events
from asahi_edge.api.json import convert, decode_object
from asahi_edge.api.openapi.operations import documented_openai_chat
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.schemas.openai import ChatBody
from asahi_edge.domain.access import require_organization

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.post("/chat/completions", **documented_openai_chat())
async def chat_completions(request: Request) -> Response:
    """Answer a conversation in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = await read_body(request)
    decoded = decode_object(body)
    asked = convert(decoded, ChatBody)
    require_organization(verdict, asked.organization_id)
    inference = native_question(verdict, Api.API_OPENAI_CHAT_COMPLETIONS, body, decoded, request.headers)
    limit_time(inference.routing)
    wants_usage = asked.stream_options is not None and asked.stream_options.include_usage is True
    told = Told(
        whole=partial(chat_completion, inference),
        events=lambda headers: chat_events(request, inference, headers, wants_usage=wants_usage),
    )
    return await answer(request, inference, body, told)
