"""`POST /v1/chat/completions`: OpenAI's API. The provider's body comes back as it is, with `asahi` added."""

import time
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.type.v1.chat_pb2 import Api, NativeBody, Prompt
from asahi.type.v1.routing_pb2 import Routing
from asahi_core.context import current_call
from asahi_core.errors import InvalidRequest, NotImplementedYet
from asahi_edge.api.answers import alternatives, dollars_or_none, inference_headers, note_in_log
from asahi_edge.api.authentication import authorize
from asahi_edge.api.directives import cache_directives, refuse_idempotency_key, tags
from asahi_edge.api.infer import limit_time
from asahi_edge.api.json import Dollars, decode_object, encode, read_body
from asahi_edge.api.openapi import documented_openai_chat
from asahi_edge.api.routing import mode_name, routing_of_model
from asahi_edge.api.schemas import AsahiObject
from asahi_edge.api.services import services_of
from asahi_edge.domain.fingerprint import fingerprint
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])
_top_level = msgspec.json.Decoder(dict[str, msgspec.Raw])


@router.post("/chat/completions", **documented_openai_chat())
async def chat_completions(request: Request) -> Response:
    """Answer a conversation in OpenAI's protocol. `model` omitted, `asahi` or `auto` lets Asahi choose."""
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_INFER)
    refuse_idempotency_key(request)
    body = await read_body(request, services.max_body_bytes)
    decoded = decode_object(body)
    _check(decoded)
    inference = _inference(request, verdict, body, decoded)
    if inference.routing.HasField("latency_budget_ms"):
        limit_time(inference.routing.latency_budget_ms)
    result = await services.pipeline.infer(inference)
    note_in_log(request, result)
    return Response(_answer(inference, result), headers=inference_headers(result), media_type="application/json")


def _check(decoded: dict[str, Any]) -> None:
    """Only what Asahi itself needs is checked; all else is the provider's to judge."""
    messages = decoded.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list of at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("A message must be an object with a 'role'.", param=f"messages[{index}]")
    if not isinstance(decoded.get("model"), str | None):
        raise InvalidRequest("'model' must be a string; leave it out to let Asahi choose.", param="model")
    if decoded.get("stream") not in (None, False):
        raise NotImplementedYet("'stream' is not served by this version; leave it out.", param="stream")


def _inference(request: Request, verdict: Verdict, body: bytes, decoded: dict[str, Any]) -> InferenceRequest:
    api = Api.API_OPENAI_CHAT_COMPLETIONS
    routing: Routing = routing_of_model(decoded.get("model") or "", request.headers.get("x-asahi-routing"))
    user = decoded.get("user")
    return InferenceRequest(
        request_id=current_call.get().request_id,
        api=api,
        verdict=verdict,
        prompt=Prompt(native=NativeBody(api=api, body=body)),
        routing=routing,
        fingerprint=fingerprint(verdict.organization_id, api, routing, decoded),
        cache=cache_directives(request),
        user_id=user[:200] if isinstance(user, str) else verdict.user_id,
        tags=tags(request),
    )


def _answer(request: InferenceRequest, result: InferenceResult) -> bytes:
    """The provider's body with `asahi` added; on a hit with an id and a time of its own, as a new answer has."""
    body = _top_level.decode(result.answer.native.body)
    if result.cache_tier:
        body["id"] = msgspec.Raw(encode(f"chatcmpl-{request.request_id}"))
        body["created"] = msgspec.Raw(encode(int(time.time())))
    body["asahi"] = msgspec.Raw(encode(_asahi_object(request, result)))
    return msgspec.json.encode(body)


def _asahi_object(request: InferenceRequest, result: InferenceResult) -> AsahiObject:
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
        alternatives=alternatives(request, result),
    )
