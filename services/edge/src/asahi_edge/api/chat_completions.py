"""`POST /v1/chat/completions`: OpenAI's API. The provider's answer goes on as it is, with `asahi` added."""

from functools import partial

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_edge.api.answers import inference_headers, note_in_log
from asahi_edge.api.authentication import authorize
from asahi_edge.api.callers import HttpCaller
from asahi_edge.api.chat_answers import chat_completion, chat_events
from asahi_edge.api.events import open_stream
from asahi_edge.api.json import convert, decode_object, read_body
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.openapi.operations import documented_openai_chat
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.replays import Staying, answer_once, claim_of, idempotency_key, record_events
from asahi_edge.api.schemas.openai import ChatBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.replays import Recording

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.post("/chat/completions", **documented_openai_chat())
async def chat_completions(request: Request) -> Response:
    """Answer a conversation in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    once = idempotency_key(request.headers)
    body = await read_body(request, services.max_body_bytes)
    decoded = decode_object(body)
    asked = convert(decoded, ChatBody)
    require_organization(verdict, asked.organization_id)
    inference = native_question(verdict, Api.API_OPENAI_CHAT_COMPLETIONS, body, decoded, request.headers)
    limit_time(inference.routing)
    wants_usage = asked.stream_options is not None and asked.stream_options.include_usage is True
    if once:
        claim = claim_of(request, once, inference, body)
        produce = partial(_record, request, inference, wants_usage)
        return await answer_once(request, claim, produce, stream=inference.stream)
    if inference.stream:
        headers: dict[str, str] = {}
        return await open_stream(request, chat_events(request, inference, headers, wants_usage=wants_usage), headers)
    result = await services.pipeline.infer(inference, HttpCaller(request), told_in_headers(request))
    note_in_log(request, result)
    return Response(
        chat_completion(inference, result), headers=inference_headers(result), media_type="application/json"
    )


async def _record(request: Request, inference: InferenceRequest, wants_usage: bool, recording: Recording) -> None:
    """Records the answer, whoever waits for it."""
    if inference.stream:
        headers: dict[str, str] = {}
        events = chat_events(request, inference, headers, wants_usage=wants_usage)
        await record_events(request, recording, events, headers)
        return
    result = await services_of(request).pipeline.infer(inference, Staying(), told_in_headers(request))
    note_in_log(request, result)
    recording.begin(inference_headers(result))
    recording.add(chat_completion(inference, result))
