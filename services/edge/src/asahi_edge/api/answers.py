"""What every inference answer says about itself: headers, and the parts that bodies of all APIs share."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from msgspec import UNSET

from asahi.router.v1.router_pb2 import Candidate
from asahi.type.v1.chat_pb2 import AnswerOpening, FinishReason
from asahi_core.money import dollars
from asahi_edge.api.json import Dollars
from asahi_edge.api.routing import mode_name
from asahi_edge.api.schemas.inference import AlternativeView, AsahiObject
from asahi_edge.api.similarity import similarity_explanation
from asahi_edge.domain.inference import InferenceRequest, InferenceResult


def finish_reason_name(reason: FinishReason.ValueType) -> str | None:
    """The reason as OpenAI writes it; None: not known."""
    if reason == FinishReason.FINISH_REASON_UNSPECIFIED:
        return None
    return FinishReason.Name(reason).removeprefix("FINISH_REASON_").lower()


def opening_headers(opening: AnswerOpening, *, bypass: bool) -> dict[str, str]:
    """What is known when the first piece of a streamed answer is there."""
    headers = {"x-asahi-model": opening.model, "x-asahi-cache": "bypass" if bypass else "miss"}
    if opening.added_max_output_tokens:
        headers["x-asahi-max-tokens"] = str(opening.added_max_output_tokens)
    return headers


def cache_explanation(result: InferenceResult) -> str:
    """Why the cache answered, or why not."""
    similar = "" if result.semantic is None else similarity_explanation(result.semantic)
    if result.reused:
        return f"{result.reason} {similar}".rstrip()
    if result.bypassed_cache:
        return "The caller asked that the cache be left aside."
    return f"No answer to the same request is kept for this organization. {similar}".rstrip()


def inference_headers(result: InferenceResult) -> dict[str, str]:
    """The `x-asahi-*` headers of an inference answer, and `age` on a hit."""
    headers = {
        "x-asahi-model": result.answer.model,
        "x-asahi-cache": _cache_state(result),
        "x-asahi-cost-usd": dollars(result.charge.cost_nanos),
        "x-asahi-savings-usd": dollars(result.charge.saved_nanos),
    }
    if result.cache_tier:
        headers["age"] = str(int(result.age_s))
    if result.added_max_output_tokens:
        headers["x-asahi-max-tokens"] = str(result.added_max_output_tokens)
    if result.degraded:
        headers["x-asahi-degraded"] = ",".join(result.degraded)
    return headers


def dollars_or_none(nanos: int | None) -> Dollars | None:
    """An amount, or None where it is not known."""
    return None if nanos is None else Dollars(nanos)


def alternatives(request: InferenceRequest, candidates: Sequence[Candidate]) -> Any:
    """The models considered, where the caller asked for an explanation; else UNSET."""
    if not request.explain:
        return UNSET
    return [
        AlternativeView(
            model=candidate.model,
            provider=candidate.provider,
            expected_cost=Dollars(candidate.expected_cost_nanos) if candidate.HasField("expected_cost_nanos") else None,
            quality=candidate.quality,
            first_token_ms=candidate.first_token_ms,
            total_ms=candidate.total_ms,
            check_risk=candidate.check_risk,
            escalation_cost=Dollars(candidate.escalation_cost_nanos),
            excluded_by=candidate.excluded_by or None,
        )
        for candidate in candidates
    ]


def asahi_object(request: InferenceRequest, result: InferenceResult) -> AsahiObject:
    """What an answer in a provider's protocol carries beside the provider's own fields."""
    charge = result.charge
    return AsahiObject(
        request_id=request.request_id,
        model=result.answer.model,
        provider=result.answer.provider,
        cost_usd=Dollars(charge.cost_nanos),
        cost_original_usd=dollars_or_none(charge.original_nanos),
        savings_usd=dollars_or_none(None if charge.original_nanos is None else charge.saved_nanos),
        cache_hit=result.cache_tier > 0,
        cache_tier=result.cache_tier,
        routing_mode=mode_name(request.routing.mode),
        routing_reason=result.reason,
        optimization_techniques=result.techniques,
        alternatives=alternatives(request, result.alternatives),
    )


def note_in_log(request: Request, result: InferenceResult) -> None:
    """Adds to the access log what a person wants to see of an inference."""
    request.scope["asahi"].update(
        model=result.answer.model, cache=_cache_state(result), cost_usd=dollars(result.charge.cost_nanos)
    )


def _cache_state(result: InferenceResult) -> str:
    if result.cache_tier:
        return f"hit; tier={result.cache_tier}"
    if result.coalesced:
        return "coalesced"
    return "bypass" if result.bypassed_cache else "miss"
