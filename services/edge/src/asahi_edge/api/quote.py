"""`POST /quote`: what a question to `/infer` would cost, without asking it."""

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from asahi.auth.v1.auth_pb2 import Scope
from asahi_edge.api.answers import alternatives, dollars_or_none
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.infer import ignored_fields_header, named_as_asked
from asahi_edge.api.json import Dollars, convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented_quote
from asahi_edge.api.questions import infer_question
from asahi_edge.api.routing import mode_name
from asahi_edge.api.schemas.inference import CacheExpectation, InferBody, QuoteAnswer, QuotedStep
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.quotes import Quote, StepQuote

router = APIRouter(tags=["Inference"])


@router.post("/quote", **documented_quote())
async def quote(request: Request) -> Response:
    """Say which model would answer, at which cost, and what the cache has, also step by step. Costs nothing."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    decoded = decode_object(await read_body(request))
    inference = infer_question(verdict, convert(decoded, InferBody), request.headers)
    with named_as_asked():
        quoted = await services.quotes.quote(inference)
    return json_response(_answer(inference, quoted), headers=ignored_fields_header(decoded))


def _answer(request: InferenceRequest, quoted: Quote) -> QuoteAnswer:
    decision = quoted.decision
    return QuoteAnswer(
        request_id=request.request_id,
        model=decision.model,
        provider=decision.provider,
        routing_mode=mode_name(request.routing.mode),
        routing_reason=quoted.reason,
        task_type=decision.task_type,
        baseline_model=decision.reference_model,
        expected_cost=Dollars(quoted.expected_cost_nanos),
        max_cost=dollars_or_none(quoted.max_cost_nanos),
        cache=_cache(quoted),
        steps=[_step(step) for step in quoted.steps] or UNSET,
        alternatives=alternatives(request, tuple(decision.candidates)),
    )


def _step(step: StepQuote) -> QuotedStep:
    quoted, decision = step.quote, step.quote.decision
    return QuotedStep(
        id=step.step_id,
        model=decision.model,
        provider=decision.provider,
        routing_reason=quoted.reason,
        task_type=decision.task_type,
        expected_cost=Dollars(quoted.expected_cost_nanos),
        max_cost=dollars_or_none(quoted.max_cost_nanos),
        estimated=step.estimated,
        cache=_cache(quoted),
    )


def _cache(quoted: Quote) -> CacheExpectation:
    return CacheExpectation(hit=quoted.tier > 0, tier=quoted.tier, explanation=quoted.explanation)
