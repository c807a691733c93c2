"""`POST /infer`: Asahi's own API."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Message, Prompt, Role
from asahi_core.context import current_call
from asahi_core.errors import NotImplementedYet
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.answers import (
    alternatives,
    dollars_or_none,
    finish_reason_name,
    inference_headers,
    note_in_log,
)
from asahi_edge.api.authentication import authorize
from asahi_edge.api.directives import cache_directives, refuse_idempotency_key, tags
from asahi_edge.api.json import Dollars, convert, decode_object, encode, json_response, read_body
from asahi_edge.api.openapi import documented
from asahi_edge.api.routing import mode_name, routing_of
from asahi_edge.api.schemas import AttemptView, InferAnswer, InferBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import require_organization
from asahi_edge.domain.fingerprint import fingerprint
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

router = APIRouter(tags=["Inference"])
_LATER = ("document_id", "document", "steps")


@router.post(
    "/infer", **documented(body=InferBody, answer=InferAnswer, errors=(400, 401, 403, 404, 422, 501, 502, 503, 504))
)
async def infer(request: Request) -> Response:
    """Answer a prompt from the cache, or by the cheapest model that meets quality and latency."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    refuse_idempotency_key(request)
    decoded = decode_object(await read_body(request, services.max_body_bytes))
    body = convert(decoded, InferBody)
    require_organization(verdict, body.organization_id)
    _refuse_what_comes_later(body)
    inference = _inference(request, verdict, body, decoded)
    if body.latency_budget_ms is not None:
        limit_time(body.latency_budget_ms)
    result = await services.pipeline.infer(inference)
    note_in_log(request, result)
    return json_response(_answer(inference, result), headers=inference_headers(result))


def limit_time(latency_budget_ms: int) -> None:
    """Makes the caller's latency budget the deadline of every hop from here on."""
    call = current_call.get()
    deadline = asyncio.get_running_loop().time() + latency_budget_ms / 1000
    current_call.set(replace(call, deadline=deadline if call.deadline is None else min(call.deadline, deadline)))


def _refuse_what_comes_later(body: InferBody) -> None:
    for name in _LATER:
        if getattr(body, name) is not None:
            raise NotImplementedYet(f"'{name}' is not served by this version; leave it out.", param=name)
    if body.stream:
        raise NotImplementedYet("'stream' is not served by this version; leave it out.", param="stream")


def _inference(request: Request, verdict: Verdict, body: InferBody, decoded: dict[str, Any]) -> InferenceRequest:
    routing = routing_of(body)
    return InferenceRequest(
        request_id=current_call.get().request_id,
        api=Api.API_INFER,
        verdict=verdict,
        prompt=Prompt(chat=_chat(body)),
        routing=routing,
        fingerprint=fingerprint(verdict.organization_id, Api.API_INFER, routing, decoded),
        cache=cache_directives(request),
        user_id=body.user_id or verdict.user_id,
        task_id=body.task_id or "",
        tags=tags(request),
        explain=body.explain,
    )


def _chat(body: InferBody) -> ChatRequest:
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    chat = ChatRequest(
        max_output_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=stop,
        seed=body.seed,
        response_format_json=b"" if body.response_format is None else encode(body.response_format),
    )
    if body.system:
        chat.messages.append(Message(role=Role.ROLE_SYSTEM, parts=[ContentPart(text=body.system)]))
    chat.messages.append(Message(role=Role.ROLE_USER, parts=[ContentPart(text=body.prompt)]))
    return chat


def _answer(request: InferenceRequest, result: InferenceResult) -> InferAnswer:
    answer, charge, usage = result.answer, result.charge, result.answer.usage
    hit = result.cache_tier > 0
    return InferAnswer(
        request_id=request.request_id,
        response=answer.chat.text,
        finish_reason=finish_reason_name(answer.finish_reason),
        model_used=answer.model,
        provider=answer.provider,
        tokens_input=0 if hit else prompt_tokens(usage),
        tokens_output=0 if hit else usage.output_tokens,
        tokens_input_cached=0 if hit else usage.cache_read_tokens,
        cost=Dollars(charge.cost_nanos),
        cost_overhead=Dollars(charge.overhead_nanos),
        cost_original=dollars_or_none(charge.original_nanos),
        cost_savings_percent=charge.savings_percent,
        savings_breakdown={technique: Dollars(nanos) for technique, nanos in charge.savings},
        latency_ms=round(result.latency_ms, 3),
        overhead_ms=round(result.overhead_ms, 3),
        cache_hit=hit,
        cache_tier=result.cache_tier,
        routing_mode=mode_name(request.routing.mode),
        routing_reason=result.reason,
        optimization_techniques=result.techniques,
        attempts=[
            AttemptView(model=a.model, provider=a.provider, outcome=a.outcome, duration_ms=round(a.duration_ms, 3))
            for a in result.attempts
        ],
        alternatives=alternatives(request, result),
        cache_explanation=_cache_explanation(result) if request.explain else UNSET,
    )


def _cache_explanation(result: InferenceResult) -> str:
    if result.cache_tier:
        return result.reason
    if result.bypassed_cache:
        return "The caller asked that the cache be left aside."
    return "No answer to the same request is kept for this organization."
