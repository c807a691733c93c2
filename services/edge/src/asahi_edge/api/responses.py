"""`POST /v1/responses`: OpenAI's newer API, answered by whichever provider there is, gone on with from what is kept."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import NotFound, RequestTooLarge, UnsupportedByModel
from asahi_edge.api.answering import Told, answer
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.json import convert, decode_object, encode
from asahi_edge.api.openapi.operations import documented_responses
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.response_answers import ResponseTeller
from asahi_edge.api.schemas.responses import ResponsesBody
from asahi_edge.api.services import EdgeServices, services_of
from asahi_edge.domain.access import require_organization
from asahi_edge.domain.stored_responses import Item, input_items, said_before

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])
_top_level = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OWN = ("store", "previous_response_id")
"""What Asahi does itself; no provider is told."""
_DAY_S = 86_400.0


@router.post("/responses", **documented_responses())
async def responses(request: Request) -> Response:
    """Answer a question in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = await read_body(request)
    decoded = decode_object(body)
    asked = convert(decoded, ResponsesBody)
    require_organization(verdict, asked.organization_id)
    _refuse_state_elsewhere(asked)
    earlier = await _said_before(services, verdict, asked.previous_response_id)
    passed, sent = _passed_on(decoded, body, earlier)
    if len(sent) > services.max_body_bytes:
        most = services.max_body_bytes
        words = f"The conversation has {len(sent)} bytes with what is asked now; at most {most} are taken."
        raise RequestTooLarge(words, param="previous_response_id")
    inference = native_question(verdict, Api.API_OPENAI_RESPONSES, sent, passed, request.headers)
    limit_time(inference.routing)
    keep_s = 0.0 if asked.store is False else verdict.policy.retention.responses_days * _DAY_S
    teller = ResponseTeller(request, inference, decoded, keep_s)
    told = Told(whole=teller.whole, events=teller.events, error_name="error", settle=teller.settle)
    return await answer(request, inference, body, told)


def _refuse_state_elsewhere(asked: ResponsesBody) -> None:
    """Conversations and answers that only the operator's account at a provider could find again."""
    if asked.conversation is not None:
        words = "Asahi has no 'conversation' objects; go on with 'previous_response_id', or send all of it as 'input'."
        raise UnsupportedByModel(words, param="conversation")
    if asked.background:
        words = "No model answers in the 'background': what it costs would never be known; use 'stream'."
        raise UnsupportedByModel(words, param="background")


async def _said_before(services: EdgeServices, verdict: Verdict, previous_id: str | None) -> list[Item]:
    """The conversation that the question goes on with.

    Raises:
        NotFound: it is not kept, or not the caller's.
        ServiceUnavailable: what is kept cannot be read now.
    """
    if previous_id is None:
        return []
    try:
        return said_before(await services.responses.conversation(verdict.organization_id, previous_id))
    except NotFound as error:
        words = f"Previous response with id '{previous_id[:100]}' not found."
        raise NotFound(words, param="previous_response_id") from error


def _passed_on(decoded: dict[str, Any], body: bytes, earlier: list[Item]) -> tuple[dict[str, Any], bytes]:
    """The question with all that was said before, decoded and as it is sent; all else of it as it was written."""
    if not any(name in decoded for name in _OWN):
        return decoded, body
    passed = {name: value for name, value in decoded.items() if name not in _OWN}
    fields = {name: raw for name, raw in _top_level.decode(body).items() if name not in _OWN}
    if earlier:
        passed["input"] = [*earlier, *input_items(decoded["input"])]
        fields["input"] = msgspec.Raw(encode(passed["input"]))
    return passed, msgspec.json.encode(fields)
