"""A step of a workflow as a request of its own: what it asks, what its result is kept by, what it may cost and take."""

import asyncio
import hashlib
from collections.abc import Mapping

from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Message, Prompt, Role
from asahi.type.v1.routing_pb2 import Routing
from asahi_core.context import current_call
from asahi_edge.domain.fingerprint import fingerprint
from asahi_edge.domain.inference import InferenceRequest, StepPlace
from asahi_edge.domain.policies import users_apart
from asahi_edge.domain.workflow import Step, Workflow


def step_request(
    request: InferenceRequest, workflow: Workflow, step: Step, texts: Mapping[str, str], spent_nanos: int
) -> InferenceRequest:
    """The request for `step`; `texts`: what it may read, `spent_nanos`: what other steps have cost."""
    answers = step is workflow.answering
    made_from_document = step.id in workflow.made_from_document
    frame = _frame(request.prompt.chat, answers=answers)
    routing = _routing(request.routing, step, spent_nanos)
    apart = users_apart(request.verdict, request.user_id, {})
    identity = {
        "template": step.prompt,
        "inputs": {name: hashlib.sha256(texts[name].encode()).hexdigest() for name in step.inputs},
        "type": step.kind,
        "frame": hashlib.sha256(frame.SerializeToString(deterministic=True)).hexdigest(),
        "document_id": request.document_id if made_from_document else "",
    }
    chat = ChatRequest()
    chat.CopyFrom(frame)
    chat.messages.append(Message(role=Role.ROLE_USER, parts=[ContentPart(text=step.filled(texts))]))
    return InferenceRequest(
        request_id=request.request_id,
        api=request.api,
        verdict=request.verdict,
        prompt=Prompt(chat=chat),
        routing=routing,
        fingerprint=fingerprint(request.organization_id, Api.API_INFER, routing, identity, apart),
        cache=request.cache,
        stream=request.stream and answers,
        user_id=request.user_id,
        task_id=request.task_id,
        document_id=request.document_id if made_from_document else "",
        tags=request.tags,
        explain=request.explain,
        step=StepPlace(workflow.place(step) + 1, answers=answers),
        kind=step.kind,
    )


def _frame(chat: ChatRequest, *, answers: bool) -> ChatRequest:
    """What all steps share of the question: system instruction and sampling."""
    frame = ChatRequest()
    frame.CopyFrom(chat)
    del frame.messages[:]
    frame.messages.extend(message for message in chat.messages if message.role == Role.ROLE_SYSTEM)
    if not answers:  # these shape the answer alone
        frame.ClearField("max_output_tokens")
        frame.ClearField("stop")
        frame.ClearField("response_format_json")
    return frame


def _routing(asked: Routing, step: Step, spent_nanos: int) -> Routing:
    """The request's routing, with the step's own quality and what is left of money and time."""
    routing = Routing()
    routing.CopyFrom(asked)
    if step.quality_threshold is not None:
        routing.quality_threshold = step.quality_threshold
    if asked.HasField("cost_budget_nanos"):
        routing.cost_budget_nanos = max(1, asked.cost_budget_nanos - spent_nanos)
    deadline = current_call.get().deadline
    if asked.HasField("latency_budget_ms") and deadline is not None:
        left_ms = (deadline - asyncio.get_running_loop().time()) * 1000
        routing.latency_budget_ms = max(1, min(asked.latency_budget_ms, int(left_ms)))
    return routing
