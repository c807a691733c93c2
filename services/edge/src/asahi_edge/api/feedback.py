"""`POST /feedback`: what callers say about answers, kept for the router's quality estimate and the cache's bound."""

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi.router.v1.router_pb2 import RecordOutcomeRequest
from asahi_core.errors import InvalidRequest
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.inference import FeedbackAnswer, FeedbackBody
from asahi_edge.api.services import services_of

router = APIRouter(tags=["Inference"])
_RATINGS = {"up": 1.0, "down": 0.0}
_FLUSH_S = 2.0
_SIMILAR_TIER = 2


@router.post(
    "/feedback",
    **documented(
        summary="Say how good an answer was",
        body=FeedbackBody,
        answer=FeedbackAnswer,
        errors=(400, 401, 403, 404, 413, 415, 503),
    ),
)
async def feedback(request: Request) -> Response:
    """Say how good an answer was. The last word of a key on a request replaces the one before."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = convert(decode_object(await read_body(request)), FeedbackBody)
    if body.score is not None and body.rating is not None:
        raise InvalidRequest("Send either 'score' or 'rating', not both.", param="rating")
    if body.score is None and body.rating is None and body.correct_cache_hit is None:
        raise InvalidRequest("Send 'score', 'rating' or 'correct_cache_hit'.", param="score")
    await services.usage.flush(_FLUSH_S)
    record = (await services.ledger.inference(verdict.organization_id, body.request_id)).record
    if body.correct_cache_hit is not None and not record.cache_tier:
        raise InvalidRequest("'correct_cache_hit' goes with an answer from the cache.", param="correct_cache_hit")
    outcome = RecordOutcomeRequest(
        organization_id=verdict.organization_id,
        request_id=record.request_id,
        model=record.model,
        task_type=record.task_type,
        source=verdict.api_key_id,
        score=body.score if body.rating is None else _RATINGS[body.rating],
        correct_cache_hit=body.correct_cache_hit,
        comment=body.comment or "",
        user_id=record.user_id,
    )
    await services.outcomes.record_outcome(outcome)
    if body.correct_cache_hit is not None and record.cache_tier == _SIMILAR_TIER:
        await services.cache.report_hit(verdict.organization_id, record.request_id, correct=body.correct_cache_hit)
    return json_response(FeedbackAnswer(request_id=record.request_id, recorded=True))
