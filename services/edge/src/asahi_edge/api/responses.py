"""`POST /v1/responses`: OpenAI's newer API, answered by whichever provider there is."""

from functools import partial

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import NotImplementedYet
from asahi_edge.api.answering import Told, answer
from asahi_edge.api.authentication import authorize
from asahi_edge.api.json import convert, decode_object, read_body
from asahi_edge.api.openapi.operations import documented_responses
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.response_answers import Asked, response, response_events
from asahi_edge.api.schemas.responses import ResponsesBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.post("/responses", **documented_responses())
async def responses(request: Request) -> Response:
    """Answer a question in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = await read_body(request, services.max_body_bytes)
    decoded = decode_object(body)
    asked = convert(decoded, ResponsesBody)
    require_organization(verdict, asked.organization_id)
    _refuse_keeping(asked)
    inference = native_question(verdict, Api.API_OPENAI_RESPONSES, body, decoded, request.headers)
    limit_time(inference.routing)
    question = Asked(inference, decoded)
    told = Told(
        whole=partial(response, question),
        events=partial(response_events, request, question),
        error_name="error",
    )
    return await answer(request, inference, body, told)


def _refuse_keeping(asked: ResponsesBody) -> None:
    """No response is kept yet; whoever counts on it is told."""
    if asked.store:
        raise NotImplementedYet("This version keeps no responses; leave 'store' out or send false.", param="store")
    if asked.previous_response_id is not None:
        words = "This version keeps no responses; send the whole conversation as 'input'."
        raise NotImplementedYet(words, param="previous_response_id")
