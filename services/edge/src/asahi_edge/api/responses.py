"""`POST /v1/responses`: OpenAI's newer API, answered by whichever provider there is."""

from functools import partial

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import NotImplementedYet
from asahi_edge.api.answers import inference_headers, note_in_log
from asahi_edge.api.authentication import authorize
from asahi_edge.api.callers import HttpCaller
from asahi_edge.api.events import open_stream
from asahi_edge.api.json import convert, decode_object, read_body
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.openapi.operations import documented_responses
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.replays import Staying, answer_once, claim_of, idempotency_key, record_events
from asahi_edge.api.response_answers import Asked, response, response_events
from asahi_edge.api.schemas.responses import ResponsesBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization
from asahi_edge.domain.replays import Recording

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])
_ERROR = "error"


@router.post("/responses", **documented_responses())
async def responses(request: Request) -> Response:
    """Answer a question in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    once = idempotency_key(request.headers)
    body = await read_body(request, services.max_body_bytes)
    decoded = decode_object(body)
    asked = convert(decoded, ResponsesBody)
    require_organization(verdict, asked.organization_id)
    _refuse_keeping(asked)
    inference = native_question(verdict, Api.API_OPENAI_RESPONSES, body, decoded, request.headers)
    limit_time(inference.routing)
    question = Asked(inference, decoded)
    if once:
        claim = claim_of(request, once, inference, body)
        produce = partial(_record, request, question)
        return await answer_once(request, claim, produce, stream=inference.stream, error_name=_ERROR)
    if inference.stream:
        headers: dict[str, str] = {}
        return await open_stream(request, response_events(request, question, headers), headers, error_name=_ERROR)
    result = await services.pipeline.infer(inference, HttpCaller(request), told_in_headers(request))
    note_in_log(request, result)
    return Response(response(question, result), headers=inference_headers(result), media_type="application/json")


def _refuse_keeping(asked: ResponsesBody) -> None:
    """No response is kept yet; whoever counts on it is told."""
    if asked.store:
        raise NotImplementedYet("This version keeps no responses; leave 'store' out or send false.", param="store")
    if asked.previous_response_id is not None:
        words = "This version keeps no responses; send the whole conversation as 'input'."
        raise NotImplementedYet(words, param="previous_response_id")


async def _record(request: Request, question: Asked, recording: Recording) -> None:
    """Records the answer, whoever waits for it."""
    inference = question.inference
    if inference.stream:
        headers: dict[str, str] = {}
        await record_events(request, recording, response_events(request, question, headers), headers)
        return
    result = await services_of(request).pipeline.infer(inference, Staying(), told_in_headers(request))
    note_in_log(request, result)
    recording.begin(inference_headers(result))
    recording.add(response(question, result))
