"""`asahi.inference.v1.InferenceService`: the same questions over gRPC, through the same pipeline."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from asahi.inference.v1 import inference_pb2 as pb
from asahi.inference.v1.inference_pb2_grpc import InferenceServiceServicer
from asahi.router.v1.router_pb2 import Candidate
from asahi.type.v1.routing_pb2 import LatencyPreference, QualityPreference, Routing
from asahi_core.money import dollars
from asahi_edge.api.answers import cache_explanation
from asahi_edge.api.embedding_answers import packed_vectors
from asahi_edge.api.embedding_questions import embeddings_question
from asahi_edge.api.json import convert, decode_object
from asahi_edge.api.questions import chat_question, infer_question, limit_time
from asahi_edge.api.replays import Staying, claim_of, idempotency_key
from asahi_edge.api.routing import choice_name, mode_name, routing_of
from asahi_edge.api.rpc_door import let_in
from asahi_edge.api.rpc_replays import answer_once
from asahi_edge.api.schemas.inference import InferBody, RoutingFields
from asahi_edge.domain.inference import InferenceRequest, InferenceResult, answer_text
from asahi_edge.domain.limited_pipeline import LimitedPipeline
from asahi_edge.domain.quotes import Quote, Quotes
from asahi_edge.domain.replays import Replays

MessageT = TypeVar("MessageT", bound=Message)
_Context = grpc.aio.ServicerContext[Any, Any]
_INFER_FIELDS = ("prompt", "system", "task_id", "user_id", "organization_id", "document_id", "document")
_MOST_TASK_ID = 200
_INFER_NUMBERS = ("max_tokens", "temperature", "top_p", "seed")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call that is understood."""

    request: Message
    """As it was sent."""
    question: InferenceRequest
    key: str
    """By which it is made once; empty: as often as it is sent."""


@dataclass(frozen=True, slots=True)
class InferenceServicer(InferenceServiceServicer):
    """Translates, calls the pipeline, translates back, for calls that `RpcDoor` has let in."""

    pipeline: LimitedPipeline
    replays: Replays
    quotes: Quotes

    async def Infer(self, request: pb.InferRequest, context: _Context) -> pb.InferResponse:
        asked = self._infer_question(request, request, stream=False)
        return await _only(self._serve(asked, self._infer(asked.question), pb.InferResponse, context))

    async def StreamInfer(
        self, request: pb.StreamInferRequest, context: _Context
    ) -> AsyncIterator[pb.StreamInferResponse]:
        asked = self._infer_question(request.request, request, stream=True)
        events = self._serve(asked, self._stream_infer(asked.question), pb.StreamInferResponse, context)
        async with aclosing(events):
            async for event in events:
                yield event

    async def Quote(self, request: pb.QuoteRequest, context: _Context) -> pb.QuoteResponse:
        asked = self._infer_question(request.request, request, stream=False)
        return _quote(asked.question, await self.quotes.quote(asked.question))

    async def Chat(self, request: pb.ChatRequest, context: _Context) -> pb.ChatResponse:
        asked = self._chat_question(request, request, stream=False)
        return await _only(self._serve(asked, self._chat(asked.question), pb.ChatResponse, context))

    async def StreamChat(
        self, request: pb.StreamChatRequest, context: _Context
    ) -> AsyncIterator[pb.StreamChatResponse]:
        asked = self._chat_question(request.request, request, stream=True)
        events = self._serve(asked, self._stream_chat(asked.question), pb.StreamChatResponse, context)
        async with aclosing(events):
            async for event in events:
                yield event

    async def Embed(self, request: pb.EmbedRequest, context: _Context) -> pb.EmbedResponse:
        asked = self._embed_question(request)
        return await _only(self._serve(asked, self._embed(asked.question), pb.EmbedResponse, context))

    async def _serve(
        self, asked: _Asked, told: AsyncGenerator[MessageT, None], kind: type[MessageT], context: _Context
    ) -> AsyncGenerator[MessageT, None]:
        """What `told` says, messages of `kind`; made once where the call bears a key."""
        if not asked.key:
            async with aclosing(told):
                async for message in told:
                    yield message
            return
        body = asked.request.SerializeToString(deterministic=True)
        claim = claim_of(asked.request.DESCRIPTOR.full_name, {}, asked.key, asked.question, body)
        async for sent in answer_once(self.replays, claim, told, context):
            yield kind.FromString(sent)

    async def _infer(self, question: InferenceRequest) -> AsyncGenerator[pb.InferResponse, None]:
        result = await self.pipeline.infer(question, Staying())
        yield pb.InferResponse(response=answer_text(result.answer.chat), outcome=_outcome(question, result))

    async def _stream_infer(self, question: InferenceRequest) -> AsyncGenerator[pb.StreamInferResponse, None]:
        begun = False
        async with aclosing(self.pipeline.stream(question)) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    if not begun:
                        yield pb.StreamInferResponse(decision=_decision_of_result(question, piece))
                        yield pb.StreamInferResponse(delta=answer_text(piece.answer.chat))
                    yield pb.StreamInferResponse(done=_outcome(question, piece))
                elif piece.HasField("opening"):
                    yield pb.StreamInferResponse(decision=_decision(question, piece.opening))
                else:
                    yield pb.StreamInferResponse(delta=piece.text)
                begun = True

    async def _chat(self, question: InferenceRequest) -> AsyncGenerator[pb.ChatResponse, None]:
        result = await self.pipeline.infer(question, Staying())
        yield pb.ChatResponse(answer=result.answer.chat, outcome=_outcome(question, result))

    async def _stream_chat(self, question: InferenceRequest) -> AsyncGenerator[pb.StreamChatResponse, None]:
        begun = False
        async with aclosing(self.pipeline.stream(question)) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    if not begun:
                        yield pb.StreamChatResponse(decision=_decision_of_result(question, piece))
                        yield pb.StreamChatResponse(delta=answer_text(piece.answer.chat))
                    done = pb.ChatResponse(answer=piece.answer.chat, outcome=_outcome(question, piece))
                    yield pb.StreamChatResponse(done=done)
                elif piece.HasField("opening"):
                    yield pb.StreamChatResponse(decision=_decision(question, piece.opening))
                else:
                    yield pb.StreamChatResponse(delta=piece.text)
                begun = True

    async def _embed(self, question: InferenceRequest) -> AsyncGenerator[pb.EmbedResponse, None]:
        result = await self.pipeline.infer(question, Staying())
        yield pb.EmbedResponse(
            embeddings=packed_vectors(result),
            input_tokens=result.answer.usage.input_tokens,
            outcome=_outcome(question, result),
        )

    def _infer_question(self, request: pb.InferRequest, sent: Message, *, stream: bool) -> _Asked:
        called = let_in.get()
        verdict, headers = called.verdict, called.metadata
        fields: dict[str, Any] = {**_routing_fields(request.routing), "stream": stream, "explain": request.explain}
        fields |= {name: value for name in _INFER_FIELDS if (value := getattr(request, name))}
        fields |= {field.name: value for field, value in request.ListFields() if field.name in _INFER_NUMBERS}
        if request.stop:
            fields["stop"] = list(request.stop)
        if request.response_format_json:
            fields["response_format"] = decode_object(request.response_format_json)
        if request.steps:
            fields["steps"] = [_step_fields(step) for step in request.steps]
        question = infer_question(verdict, convert(fields, InferBody), headers)
        limit_time(question.routing)
        return _Asked(sent, question, idempotency_key(headers))

    def _chat_question(self, request: pb.ChatRequest, sent: Message, *, stream: bool) -> _Asked:
        called = let_in.get()
        verdict, headers = called.verdict, called.metadata
        routing = routing_of(convert(_routing_fields(request.routing), RoutingFields))
        question = chat_question(
            verdict,
            request.chat,
            routing,
            headers,
            stream=stream,
            user_id=request.user_id,
            task_id=request.task_id,
            explain=request.explain,
        )
        limit_time(question.routing)
        return _Asked(sent, question, idempotency_key(headers))

    def _embed_question(self, request: pb.EmbedRequest) -> _Asked:
        called = let_in.get()
        verdict, headers = called.verdict, called.metadata
        fields: dict[str, Any] = {"input": list(request.input), "model": request.model}
        if request.HasField("dimensions"):
            fields["dimensions"] = request.dimensions
        if request.user_id:
            fields["user"] = request.user_id
        question = replace(embeddings_question(verdict, fields, headers), task_id=request.task_id[:_MOST_TASK_ID])
        return _Asked(request, question, idempotency_key(headers))


async def _only(events: AsyncGenerator[MessageT, None]) -> MessageT:
    """The one message of a plain answer."""
    async with aclosing(events):
        return await anext(events)


def _routing_fields(routing: Routing) -> dict[str, Any]:
    """The routing as callers over HTTP write it, so that both are checked by the same rules."""
    fields: dict[str, Any] = {"routing_mode": mode_name(routing.mode) if routing.mode else "autopilot"}
    if routing.HasField("quality_threshold"):
        fields["quality_threshold"] = routing.quality_threshold
    if routing.quality_preference:
        chosen = choice_name(QualityPreference.DESCRIPTOR, routing.quality_preference, "QUALITY_PREFERENCE_")
        fields["quality_preference"] = chosen
    if routing.latency_preference:
        chosen = choice_name(LatencyPreference.DESCRIPTOR, routing.latency_preference, "LATENCY_PREFERENCE_")
        fields["latency_preference"] = chosen
    if routing.HasField("latency_budget_ms"):
        fields["latency_budget_ms"] = routing.latency_budget_ms
    if routing.HasField("cost_budget_nanos"):
        fields["cost_budget"] = float(dollars(routing.cost_budget_nanos))
    if routing.model:
        fields["model_override"] = routing.model
    return fields


def _step_fields(step: pb.WorkflowStep) -> dict[str, Any]:
    """The step as callers over HTTP write it."""
    fields: dict[str, Any] = {"id": step.id, "prompt": step.prompt, "depends_on": list(step.depends_on)}
    if step.type:
        fields["type"] = step.type
    if step.HasField("quality_threshold"):
        fields["quality_threshold"] = step.quality_threshold
    return fields


def _decision(question: InferenceRequest, opening: Any) -> pb.StreamDecision:
    return pb.StreamDecision(
        request_id=question.request_id,
        model=opening.model,
        provider=opening.provider,
        routing_reason=opening.routing_reason,
    )


def _decision_of_result(question: InferenceRequest, result: InferenceResult) -> pb.StreamDecision:
    return pb.StreamDecision(
        request_id=question.request_id,
        model=result.answer.model,
        provider=result.answer.provider,
        routing_reason=result.reason,
        cache_tier=result.cache_tier,
    )


def _quote(question: InferenceRequest, quoted: Quote) -> pb.QuoteResponse:
    decision = quoted.decision
    return pb.QuoteResponse(
        request_id=question.request_id,
        model=decision.model,
        provider=decision.provider,
        routing_reason=quoted.reason,
        task_type=decision.task_type,
        baseline_model=decision.reference_model,
        expected_cost_nanos=quoted.expected_cost_nanos,
        max_cost_nanos=quoted.max_cost_nanos,
        cache=pb.CacheExpectation(tier=quoted.tier, explanation=quoted.explanation),
        steps=[
            pb.QuotedStep(
                id=step.step_id,
                model=step.quote.decision.model,
                provider=step.quote.decision.provider,
                routing_reason=step.quote.reason,
                task_type=step.quote.decision.task_type,
                expected_cost_nanos=step.quote.expected_cost_nanos,
                max_cost_nanos=step.quote.max_cost_nanos,
                estimated=step.estimated,
                cache=pb.CacheExpectation(tier=step.quote.tier, explanation=step.quote.explanation),
            )
            for step in quoted.steps
        ],
        alternatives=_alternatives(decision.candidates) if question.explain else (),
    )


def _alternatives(candidates: Iterable[Candidate]) -> list[pb.Alternative]:
    return [
        pb.Alternative(
            model=c.model,
            provider=c.provider,
            expected_cost_nanos=c.expected_cost_nanos if c.HasField("expected_cost_nanos") else None,
            quality=c.quality,
            first_token_ms=c.first_token_ms,
            total_ms=c.total_ms,
            excluded_by=c.excluded_by,
            check_risk=c.check_risk,
            escalation_cost_nanos=c.escalation_cost_nanos,
        )
        for c in candidates
    ]


def _outcome(question: InferenceRequest, result: InferenceResult) -> pb.Outcome:
    answer, charge = result.answer, result.charge
    return pb.Outcome(
        request_id=question.request_id,
        model=answer.model,
        provider=answer.provider,
        finish_reason=answer.finish_reason,
        usage=None if result.reused else answer.usage,
        cost_nanos=charge.cost_nanos,
        cost_overhead_nanos=charge.overhead_nanos,
        cost_original_nanos=charge.original_nanos,
        savings_nanos=dict(charge.savings),
        cache_tier=result.cache_tier,
        coalesced=result.coalesced,
        routing_reason=result.reason,
        latency_ms=result.latency_ms,
        overhead_ms=result.overhead_ms,
        attempts=[
            pb.CallOutcome(model=a.model, provider=a.provider, outcome=a.outcome, duration_ms=a.duration_ms)
            for a in result.attempts
        ],
        alternatives=_alternatives(result.alternatives) if question.explain else (),
        cache_explanation=cache_explanation(result) if question.explain else "",
        steps=[
            pb.StepOutcome(
                id=name,
                cache_tier=step.cache_tier,
                coalesced=step.coalesced,
                cost_nanos=step.charge.cost_nanos,
                model=step.answer.model,
                finish_reason=step.answer.finish_reason,
            )
            for name, step in result.steps
        ],
        degraded=result.degraded,
    )
