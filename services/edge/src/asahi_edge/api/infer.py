"""`POST /infer`: Asahi's own API, plain and streamed."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from asahi.auth.v1.auth_pb2 import Scope
from asahi_core.errors import AsahiError
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.answering import Told, answer
from asahi_edge.api.answers import (
    alternatives,
    cache_explanation,
    dollars_or_none,
    finish_reason_name,
    inference_headers,
    note_in_log,
    opening_headers,
)
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.events import error_event, event
from asahi_edge.api.fields import ignored_warning
from asahi_edge.api.json import Dollars, convert, decode_object, encode, field_names
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.openapi.operations import documented_infer
from asahi_edge.api.questions import infer_question, limit_time
from asahi_edge.api.routing import mode_name
from asahi_edge.api.schemas.inference import AttemptView, InferAnswer, InferBody, StepView, StreamDecision, StreamDelta
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest, InferenceResult, answer_text

router = APIRouter(tags=["Inference"])
_FIELDS = frozenset(field_names(InferBody))
_OUR_FIELDS = {"model": "model_override", "messages": "prompt"}


@router.post("/infer", **documented_infer())
async def infer(request: Request) -> Response:
    """Answer a prompt from the cache, or by the cheapest model that meets quality and latency."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    raw = await read_body(request)
    decoded = decode_object(raw)
    body = convert(decoded, InferBody)
    inference = infer_question(verdict, body, request.headers)
    limit_time(inference.routing)
    told = Told(
        whole=lambda result: encode(_answer(inference, result)),
        events=partial(_events, request, inference),
        error_name="error",
        headers=ignored_fields_header(decoded),
        naming=named_as_asked,
    )
    return await answer(request, inference, raw, told)


async def _events(
    request: Request, inference: InferenceRequest, headers: dict[str, str]
) -> AsyncGenerator[bytes, None]:
    """`decision`, `delta`s, `done`; after the first of them an error is an event too. Fills `headers` before it."""
    begun = False
    try:
        async with aclosing(services_of(request).pipeline.stream(inference, told_in_headers(request))) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    note_in_log(request, piece)
                    if not begun:
                        headers |= inference_headers(piece)
                        yield _decision(inference, piece.answer.model, piece.answer.provider, piece.reason, piece)
                        yield _delta(answer_text(piece.answer.chat))
                    yield event(encode(_answer(inference, piece)), "done")
                elif piece.HasField("opening"):
                    headers |= opening_headers(piece.opening, bypass=not inference.cache.read)
                    opening = piece.opening
                    yield _decision(inference, opening.model, opening.provider, opening.routing_reason, None)
                else:
                    yield _delta(piece.text)
                begun = True
    except AsahiError as error:
        _name_our_field(error)
        if not begun:
            raise
        yield error_event(request, error, "error")


def ignored_fields_header(decoded: Mapping[str, Any]) -> dict[str, str]:
    """The warning that names fields which `/infer` does not know; empty: it knows all."""
    unknown = decoded.keys() - _FIELDS
    return {"x-asahi-warning": ignored_warning(unknown, _FIELDS)} if unknown else {}


@contextmanager
def named_as_asked() -> Iterator[None]:
    """Makes an error name the field of `/infer` where the services behind have another name for it."""
    try:
        yield
    except AsahiError as error:
        _name_our_field(error)
        raise


def _name_our_field(error: AsahiError) -> None:
    error.param = _OUR_FIELDS.get(error.param or "", error.param)


def _decision(
    inference: InferenceRequest, model: str, provider: str, reason: str, result: InferenceResult | None
) -> bytes:
    decision = StreamDecision(
        request_id=inference.request_id,
        model_used=model,
        provider=provider,
        routing_mode=mode_name(inference.routing.mode),
        routing_reason=reason,
        cache_tier=result.cache_tier if result is not None else 0,
    )
    return event(encode(decision), "decision")


def _delta(text: str) -> bytes:
    return event(encode(StreamDelta(text)), "delta")


def _answer(request: InferenceRequest, result: InferenceResult) -> InferAnswer:
    answer, charge, usage = result.answer, result.charge, result.answer.usage
    return InferAnswer(
        request_id=request.request_id,
        response=answer_text(answer.chat),
        finish_reason=finish_reason_name(answer.finish_reason),
        model_used=answer.model,
        provider=answer.provider,
        tokens_input=0 if result.reused else prompt_tokens(usage),
        tokens_output=0 if result.reused else usage.output_tokens,
        tokens_input_cached=0 if result.reused else usage.cache_read_tokens,
        cost=Dollars(charge.cost_nanos),
        cost_overhead=Dollars(charge.overhead_nanos),
        cost_original=dollars_or_none(charge.original_nanos),
        cost_savings_percent=charge.savings_percent,
        savings_breakdown={technique: Dollars(nanos) for technique, nanos in charge.savings},
        latency_ms=round(result.latency_ms, 3),
        overhead_ms=round(result.overhead_ms, 3),
        cache_hit=result.cache_tier > 0,
        cache_tier=result.cache_tier,
        routing_mode=mode_name(request.routing.mode),
        routing_reason=result.reason,
        optimization_techniques=result.techniques,
        attempts=[
            AttemptView(model=a.model, provider=a.provider, outcome=a.outcome, duration_ms=round(a.duration_ms, 3))
            for a in result.attempts
        ],
        alternatives=alternatives(request, result.alternatives),
        cache_explanation=cache_explanation(result) if request.explain else UNSET,
        steps=[_step(name, step) for name, step in result.steps] if request.workflow is not None else UNSET,
    )


def _step(name: str, result: InferenceResult) -> StepView:
    return StepView(
        id=name,
        tier=result.cache_tier,
        coalesced=result.coalesced,
        cost=Dollars(result.charge.cost_nanos),
        model=result.answer.model,
        finish_reason=finish_reason_name(result.answer.finish_reason),
    )
