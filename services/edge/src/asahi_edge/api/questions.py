"""What callers ask, over HTTP or gRPC, as what the pipeline understands."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Message, NativeBody, Prompt, Role
from asahi.type.v1.routing_pb2 import Routing
from asahi_core.context import current_call
from asahi_core.errors import InvalidRequest
from asahi_edge.api.directives import cache_directives, tags
from asahi_edge.api.json import encode
from asahi_edge.api.protocol_headers import headers_apart, protocol_headers
from asahi_edge.api.routing import routing_of, routing_of_model
from asahi_edge.api.schemas.inference import InferBody
from asahi_edge.domain.access import require_organization
from asahi_edge.domain.fingerprint import fingerprint
from asahi_edge.domain.inference import STEP_TIER, InferenceRequest
from asahi_edge.domain.policies import govern_cache, govern_routing, named_users, users_apart
from asahi_edge.domain.similarity import Similarity, in_chat, in_infer, in_native
from asahi_edge.domain.workflow import DOCUMENT, PROMPT, Step, Workflow, require_whole

_HASHED = (
    *("prompt", "system", "document", "document_id"),
    *("max_tokens", "temperature", "top_p", "stop", "seed", "response_format"),
)
_MAX_USER = 200


def infer_question(verdict: Verdict, body: InferBody, headers: Mapping[str, str]) -> InferenceRequest:
    """A question to `/infer`, or to the gRPC method of that name: the two share their fingerprints."""
    require_organization(verdict, body.organization_id)
    workflow = _workflow(body)
    routing = routing_of(body)
    govern_routing(routing, verdict)
    user_id = body.user_id or verdict.user_id
    if isinstance(body.stop, str):
        body.stop = [body.stop]
    exact_tier = 1 if workflow is None else STEP_TIER
    asked = {name: value for name in _HASHED if (value := getattr(body, name)) is not None}
    apart = users_apart(verdict, user_id, {})
    return InferenceRequest(
        request_id=current_call.get().request_id,
        api=Api.API_INFER,
        verdict=verdict,
        prompt=Prompt(chat=_chat(body)),
        routing=routing,
        fingerprint=fingerprint(verdict.organization_id, Api.API_INFER, routing, asked, apart),
        cache=govern_cache(
            cache_directives(headers, exact_tier=exact_tier), verdict, body.temperature, exact_tier=exact_tier
        ),
        similarity=Similarity(
            lambda: in_infer(asked),
            Api.API_INFER,
            routing,
            verdict,
            apart,
            named=(user_id,),
            size=len(body.prompt) + len(body.document or "") + len(body.system or ""),
        ),
        stream=body.stream,
        user_id=user_id,
        task_id=body.task_id or "",
        document_id=body.document_id or "",
        prefix=b"" if body.document is None else sha256(f"{body.system or ''}\0{body.document}".encode()).digest(),
        tags=tags(headers),
        explain=body.explain,
        workflow=workflow,
    )


def native_question(
    verdict: Verdict, api: Api.ValueType, body: bytes, decoded: dict[str, Any], headers: Mapping[str, str]
) -> InferenceRequest:
    """A question in a provider's protocol, whose body is passed on as it is."""
    routing = routing_of_model(decoded.get("model") or "", headers.get("x-asahi-routing"))
    govern_routing(routing, verdict)
    user = _user_in(api, decoded)
    user_id = user[:_MAX_USER] if isinstance(user, str) else verdict.user_id
    own_headers = protocol_headers(api, headers)
    apart = users_apart(verdict, user_id, decoded) | headers_apart(own_headers)
    return InferenceRequest(
        request_id=current_call.get().request_id,
        api=api,
        verdict=verdict,
        prompt=Prompt(native=NativeBody(api=api, body=body, headers=own_headers)),
        routing=routing,
        fingerprint=fingerprint(verdict.organization_id, api, routing, decoded, apart),
        cache=govern_cache(cache_directives(headers), verdict, _temperature(api, decoded)),
        similarity=Similarity(
            lambda: in_native(api, decoded),
            api,
            routing,
            verdict,
            apart,
            named=named_users(user_id, decoded),
            size=len(body),
        ),
        stream=decoded.get("stream") is True,
        user_id=user_id,
        tags=tags(headers),
    )


def chat_question(
    verdict: Verdict,
    chat: ChatRequest,
    routing: Routing,
    headers: Mapping[str, str],
    *,
    stream: bool,
    user_id: str,
    task_id: str,
    explain: bool,
) -> InferenceRequest:
    """A conversation in Asahi's own form (gRPC)."""
    if not chat.messages:
        raise InvalidRequest("'chat.messages' must hold at least one message.", param="chat.messages")
    for index, message in enumerate(chat.messages):
        if message.role == Role.ROLE_UNSPECIFIED or not message.parts:
            name = f"chat.messages[{index}]"
            raise InvalidRequest(f"{name} needs a role and at least one part.", param=name)
    govern_routing(routing, verdict)
    user_id = user_id[:_MAX_USER] or verdict.user_id
    asked = {"chat": chat.SerializeToString(deterministic=True)}
    apart = users_apart(verdict, user_id, {})
    return InferenceRequest(
        request_id=current_call.get().request_id,
        api=Api.API_CHAT,
        verdict=verdict,
        prompt=Prompt(chat=chat),
        routing=routing,
        fingerprint=fingerprint(verdict.organization_id, Api.API_CHAT, routing, asked, apart),
        similarity=Similarity(
            lambda: in_chat(chat),
            Api.API_CHAT,
            routing,
            verdict,
            apart,
            named=(user_id,),
            size=len(asked["chat"]),
        ),
        cache=govern_cache(
            cache_directives(headers), verdict, chat.temperature if chat.HasField("temperature") else None
        ),
        stream=stream,
        user_id=user_id,
        task_id=task_id[:_MAX_USER],
        tags=tags(headers),
        explain=explain,
    )


def limit_time(routing: Routing) -> None:
    """Makes the caller's latency budget, if there is one, the deadline of the call from here on."""
    if not routing.HasField("latency_budget_ms"):
        return
    call = current_call.get()
    deadline = asyncio.get_running_loop().time() + routing.latency_budget_ms / 1000
    current_call.set(replace(call, deadline=deadline if call.deadline is None else min(call.deadline, deadline)))


def _temperature(api: Api.ValueType, decoded: dict[str, Any]) -> float | None:
    """How far an answer is left to chance; None: the question does not say. A vector never is."""
    return 0.0 if api == Api.API_OPENAI_EMBEDDINGS else decoded.get("temperature")


def _user_in(api: Api.ValueType, decoded: dict[str, Any]) -> Any:
    """The end user, where the protocol has one."""
    if api != Api.API_ANTHROPIC_MESSAGES:
        return decoded.get("user")
    metadata = decoded.get("metadata")
    return metadata.get("user_id") if isinstance(metadata, dict) else None


def _workflow(body: InferBody) -> Workflow | None:
    """The workflow that is asked for, if one is; raises InvalidRequest for one that could never run."""
    if body.document_id is not None and body.document is None:
        raise InvalidRequest("'document_id' names 'document', which is missing.", param="document")
    if body.steps is None:
        return None
    steps = tuple(
        Step(step.id, step.prompt, tuple(step.depends_on), step.type or "", step.quality_threshold)
        for step in body.steps
    )
    require_whole(steps, has_document=body.document is not None)
    for index, step in enumerate(steps):
        if step.quality_threshold is not None and body.routing_mode != "autopilot":
            name = f"steps[{index}].quality_threshold"
            raise InvalidRequest(f"'{name}' goes with routing_mode 'autopilot'.", param=name)
    given = {PROMPT: body.prompt} | ({} if body.document is None else {DOCUMENT: body.document})
    return Workflow(steps, given)


def _chat(body: InferBody) -> ChatRequest:
    chat = ChatRequest(
        max_output_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=body.stop,
        seed=body.seed,
        response_format_json=b"" if body.response_format is None else encode(body.response_format),
    )
    if body.system:
        chat.messages.append(Message(role=Role.ROLE_SYSTEM, parts=[ContentPart(text=body.system)]))
    # The document comes first, so that questions about it share a prefix that providers can cache.
    parts = [] if body.document is None else [ContentPart(text=body.document)]
    chat.messages.append(Message(role=Role.ROLE_USER, parts=[*parts, ContentPart(text=body.prompt)]))
    return chat
