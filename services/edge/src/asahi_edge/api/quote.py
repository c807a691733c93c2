"""`POST /quote`: what a question to `/infer` would cost, without asking it."""

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi_core.errors import NotImplementedYet
from asahi_edge.api.answers import alternatives, dollars_or_none
from asahi_edge.api.authentication import authorize
from asahi_edge.api.infer import ignored_fields_header, named_as_asked
from asahi_edge.api.json import Dollars, convert, decode_object, json_response, read_body
from asahi_edge.api.openapi.operations import documented_quote
from asahi_edge.api.questions import infer_question
from asahi_edge.api.routing import mode_name
from asahi_edge.api.schemas.inference import CacheExpectation, InferBody, QuoteAnswer
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.quotes import Quote

router = APIRouter(tags=["Inference"])


@router.post("/quote", **documented_quote())
async def quote(request: Request) -> Response:
    """Say which model would answer, what it would cost at most, and whether the cache has the answer. Costs nothing."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    decoded = decode_object(await read_body(request, services.max_body_bytes))
    inference = infer_question(verdict, convert(decoded, InferBody), request.headers)
    if inference.workflow is not None:
        message = (
            "A workflow is not quoted: what later steps cost depends on what earlier ones answer. Leave 'steps' out."
        )
        raise NotImplementedYet(message, param="steps")
    with named_as_asked():
        quoted = await services.quotes.quote(inference)
    return json_response(_answer(inference, quoted), headers=ignored_fields_header(decoded))


def _answer(request: InferenceRequest, quoted: Quote) -> QuoteAnswer:
    decision, hit = quoted.decision, quoted.hit
    max_cost = decision.max_cost_nanos if decision.HasField("max_cost_nanos") else None
    return QuoteAnswer(
        request_id=request.request_id,
        model=decision.model,
        provider=decision.provider,
        routing_mode=mode_name(request.routing.mode),
        routing_reason=decision.reason,
        task_type=decision.task_type,
        baseline_model=decision.reference_model,
        expected_cost=Dollars(0 if hit is not None else decision.expected_cost_nanos),
        max_cost=dollars_or_none(max_cost),
        cache=CacheExpectation(
            hit=hit is not None,
            tier=hit.tier if hit is not None else 0,
            explanation=_explanation(request, quoted),
        ),
        alternatives=alternatives(request, tuple(decision.candidates)),
    )


def _explanation(request: InferenceRequest, quoted: Quote) -> str:
    if not request.cache.read:
        return "The cache would be left aside."
    if quoted.hit is not None:
        return f"An answer by {quoted.hit.entry.answer.model} to the same request is kept and would be given again."
    if not quoted.cache_reachable:
        return "The cache cannot be reached at the moment; a provider would be called."
    return "No answer to the same request is kept for this organization; a provider would be called."
