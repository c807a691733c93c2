"""The path of one inference request, from an authenticated caller to an answer with its price.

Read `Pipeline.infer` from top to bottom: look up, complete, charge, settle and store, answer. Where a step happens in
another service, the method called is named after that service's RPC.
"""

import asyncio
from dataclasses import dataclass, field, replace

from asahi.billing.v1.billing_pb2 import Saving, UsageRecord
from asahi.cache.v1.cache_pb2 import CacheEntry, CacheHit
from asahi.router.v1.router_pb2 import Attempt, Completed, Decision, Task
from asahi.type.v1.chat_pb2 import FinishReason
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, InternalError
from asahi_core.prices import PriceBook
from asahi_edge.domain.access import may_use_model
from asahi_edge.domain.charge import Charge, charge_answer, charge_hit
from asahi_edge.domain.inference import InferenceRequest, InferenceResult
from asahi_edge.domain.ports import AnswerCache, ModelRouter
from asahi_edge.domain.usage import UsageDelivery

_CACHEABLE = {FinishReason.FINISH_REASON_STOP, FinishReason.FINISH_REASON_TOOL_CALLS}


@dataclass(slots=True)
class _Run:
    """What is known of a request while it runs."""

    request: InferenceRequest
    started: float
    degraded: list[str] = field(default_factory=list)


class Pipeline:
    """Answers inference requests: from the cache, or from the model that the router chooses."""

    def __init__(
        self, *, cache: AnswerCache, router: ModelRouter, usage: UsageDelivery, prices: PriceBook, clock: Clock
    ) -> None:
        self._cache = cache
        self._router = router
        self._usage = usage
        self._prices = prices
        self._clock = clock

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        """The answer to `request`, recorded before it is returned.

        Raises:
            AsahiError: as the HTTP contract's table says; nothing is cached then, and nothing is billed.
        """
        self._usage.admit()
        run = _Run(request, self._clock.monotonic())
        hit = await self._look_up(run)
        if hit is not None:
            return self._answer_from_cache(run, hit)
        decision, completed = await self._complete(run)
        charge = charge_answer(self._prices, completed.answer, decision.reference_model, self._clock.now())
        result = self._result(run, decision, completed, charge)
        await asyncio.gather(self._settle(run, result), self._store(run, decision, completed))
        return replace(result, degraded=tuple(run.degraded))

    async def _look_up(self, run: _Run) -> CacheHit | None:
        """The cached answer, if the caller wants one and may see the model that wrote it."""
        request = run.request
        if not request.cache.read:
            return None
        try:
            hit = await self._cache.lookup(request.organization_id, request.fingerprint, request.cache.max_age_s)
        except AsahiError:
            run.degraded.append("cache")
            return None
        if hit is None or not may_use_model(request.verdict, hit.entry.answer.model):
            return None
        return hit

    def _answer_from_cache(self, run: _Run, hit: CacheHit) -> InferenceResult:
        entry = hit.entry
        now = self._clock.now()
        age_s = max(0.0, now.timestamp() - entry.created_at.ToNanoseconds() / 1e9)
        result = InferenceResult(
            answer=entry.answer,
            charge=charge_hit(self._prices, entry.answer, entry.reference_model, hit.tier, now),
            reason=f"{entry.answer.model} answered the same request {age_s:.0f} s ago; from cache tier {hit.tier}.",
            cache_tier=hit.tier,
            age_s=age_s,
            bypassed_cache=False,
            latency_ms=(latency_ms := self._elapsed_ms(run)),
            overhead_ms=latency_ms,
        )
        self._usage.deliver_later(self._record(run, result, attempt=0))
        return result

    async def _complete(self, run: _Run) -> tuple[Decision, Completed]:
        """Lets the router choose a model and call its provider."""
        request = run.request
        task = Task(
            organization_id=request.organization_id,
            request_id=request.request_id,
            prompt=request.prompt,
            routing=request.routing,
            policy=RoutingPolicy(allowed_models=request.verdict.allowed_models),
        )
        decision: Decision | None = None
        attempt: Attempt | None = None
        try:
            async with self._router.complete(task, explain=request.explain) as events:
                async for event in events:
                    match event.WhichOneof("event"):
                        case "decision":
                            decision = event.decision
                        case "attempt":
                            attempt = event.attempt
                        case "completed" if decision is not None:
                            return decision, event.completed
        except AsahiError as error:
            if attempt is not None:
                self._usage.deliver_later(self._failed_record(run, attempt, error))
            raise
        raise InternalError("The router service ended the call without an answer.")

    def _result(self, run: _Run, decision: Decision, completed: Completed, charge: Charge) -> InferenceResult:
        latency_ms = self._elapsed_ms(run)
        return InferenceResult(
            answer=completed.answer,
            charge=charge,
            reason=decision.reason,
            cache_tier=0,
            age_s=0.0,
            bypassed_cache=not run.request.cache.read,
            latency_ms=latency_ms,
            overhead_ms=max(0.0, latency_ms - sum(attempt.duration_ms for attempt in completed.attempts)),
            attempts=tuple(completed.attempts),
            alternatives=tuple(decision.candidates),
        )

    async def _settle(self, run: _Run, result: InferenceResult) -> None:
        """Records what the call cost before the caller gets its last byte."""
        attempt = result.attempts[-1].attempt if result.attempts else 1
        if not await self._usage.deliver(self._record(run, result, attempt=attempt)):
            run.degraded.append("billing")

    async def _store(self, run: _Run, decision: Decision, completed: Completed) -> None:
        """Keeps the answer, if it is complete and the caller allows it."""
        request, answer = run.request, completed.answer
        if not request.cache.write or answer.finish_reason not in _CACHEABLE:
            return
        entry = CacheEntry(answer=answer, reference_model=decision.reference_model, request_id=request.request_id)
        entry.created_at.FromDatetime(self._clock.now())
        try:
            await self._cache.store(request.organization_id, request.fingerprint, entry)
        except AsahiError:
            run.degraded.append("cache")

    def _record(self, run: _Run, result: InferenceResult, *, attempt: int) -> UsageRecord:
        charge = result.charge
        record = self._blank_record(run, attempt)
        record.routing_reason = result.reason
        record.model = result.answer.model
        record.provider = result.answer.provider
        record.cost_nanos = charge.cost_nanos
        record.cost_overhead_nanos = charge.overhead_nanos
        record.price_version = charge.price_version
        record.price_unknown = charge.price_unknown
        record.cache_tier = result.cache_tier
        record.savings.extend(Saving(technique=technique, nanos=nanos) for technique, nanos in charge.savings)
        record.latency_ms = result.latency_ms
        record.overhead_ms = result.overhead_ms
        record.answered = True
        if charge.original_nanos is not None:
            record.cost_original_nanos = charge.original_nanos
        if attempt:
            record.usage.CopyFrom(result.answer.usage)
        return record

    def _failed_record(self, run: _Run, attempt: Attempt, error: AsahiError) -> UsageRecord:
        record = self._blank_record(run, attempt.attempt)
        record.model, record.provider, record.error_code = attempt.model, attempt.provider, error.code
        record.latency_ms = self._elapsed_ms(run)
        return record

    def _blank_record(self, run: _Run, attempt: int) -> UsageRecord:
        request = run.request
        record = UsageRecord(
            organization_id=request.organization_id,
            request_id=request.request_id,
            attempt=attempt,
            api_key_id=request.verdict.api_key_id,
            user_id=request.user_id,
            task_id=request.task_id,
            tags=request.tags,
            api=request.api,
            routing_mode=request.routing.mode,
        )
        record.occurred_at.FromDatetime(self._clock.now())
        return record

    def _elapsed_ms(self, run: _Run) -> float:
        return (self._clock.monotonic() - run.started) * 1000
