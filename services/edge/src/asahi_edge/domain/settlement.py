"""The end of a flight's completion: charge, settle every provider call, store the answer."""

import asyncio

from prometheus_client import Counter

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.router.v1.router_pb2 import Attempt, AttemptOutcome, Completed
from asahi.type.v1.chat_pb2 import FinishReason
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, InternalError
from asahi_core.prices import Books
from asahi_edge.domain.charge import charge_calls
from asahi_edge.domain.embedding_bodies import batches, split_answer
from asahi_edge.domain.flight_call import FlightCall
from asahi_edge.domain.flights import Landing
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.ports import AnswerCache
from asahi_edge.domain.records import call_record
from asahi_edge.domain.usage import UsageDelivery

_CACHEABLE = {FinishReason.FINISH_REASON_STOP, FinishReason.FINISH_REASON_TOOL_CALLS}
_DESERTED = Counter("asahi_deserted_calls", "Provider calls whose last caller left, by how they ended.", ["end"])


class Settlement:
    """Settles completions, answered or not."""

    def __init__(
        self, *, cache: AnswerCache, usage: UsageDelivery, prices: Books, near: NearCache, clock: Clock
    ) -> None:
        self._cache = cache
        self._usage = usage
        self._prices = prices
        self._near = near
        self._clock = clock

    async def land(self, call: FlightCall, completed: Completed) -> Landing:
        """Charges, then settles and stores before anybody gets the last byte."""
        decision = call.decision
        if decision is None:
            raise InternalError("The router service answered without a decision.")
        call.ended = True
        call.attempt = None
        answer, outcome = completed.answer, completed.outcome
        if call.flight.deserted:
            if answer.usage.source == UsageSource.USAGE_SOURCE_PROVIDER:
                answer.usage.source = UsageSource.USAGE_SOURCE_DRAINED
            _DESERTED.labels("drained").inc()
        outcome.usage.CopyFrom(answer.usage)
        now = self._clock.now()
        decision.reason = f"{decision.reason} {completed.note}".rstrip()
        others = (
            one for one in call.failed if one.attempt != outcome.attempt
        )  # an answer that was held back is told twice
        calls = (*others, outcome)
        charge = charge_calls(
            self._prices.of(call.request.organization_id),
            calls,
            decision.reference_model,
            now,
            asked_to_keep=call.asked_to_keep,
        )
        entry = CacheEntry(
            answer=answer,
            reference_model=decision.reference_model,
            request_id=call.request.request_id,
            user_id=call.request.user_id,
            document_id=call.request.document_id,
            tags=[f"{name}={value}" for name, value in call.request.tags.items()],
        )
        entry.created_at.FromDatetime(now)
        aboard = call.request.answers_caller and call.request.passenger_id in call.flight.passengers
        records = [
            call_record(call.request, one, charge.calls[one.attempt], reached_caller=aboard and one is outcome, at=now)
            for one in calls
        ]
        for record in records:
            record.task_type, record.routing_reason = decision.task_type, decision.reason
        storing = asyncio.create_task(self._store(call, entry, completed.failed_check))
        try:
            settled = [await self._usage.settle(record, soon=call.budgeted) for record in records]
            stored = await storing
        finally:
            storing.cancel()
        missing = [name for name, fine in (("billing", all(settled)), ("cache", stored)) if not fine]
        return Landing(
            entry=entry,
            charge=charge.total,
            reason=decision.reason,
            attempts=tuple(sorted(calls, key=lambda one: one.attempt)),
            alternatives=tuple(decision.candidates),
            task_type=decision.task_type,
            degraded=(*call.degraded, *(name for name in missing if name not in call.degraded)),
            semantic=call.semantic_verdict,
            added_max_output_tokens=call.added_max_output_tokens,
        )

    async def _store(self, call: FlightCall, entry: CacheEntry, failed_check: str) -> bool:
        """Keeps the answer if it is complete and fit, and neither caller nor a withdrawal meanwhile forbids it.

        Returns whether the cache was there for it.
        """
        request = call.request
        if not request.cache.write or failed_check or entry.answer.finish_reason not in _CACHEABLE:
            return True
        if self._near.withdrawn_since(request.organization_id, call.flight.epoch):
            return True
        try:
            if request.parts:
                for some in batches(list(zip(request.parts, split_answer(entry, request), strict=True))):
                    await asyncio.gather(*(self._keep(call, fingerprint, part, "") for fingerprint, part in some))
            else:
                await self._keep(call, request.fingerprint, entry, call.flight_id)
                call.stored = True
        except AsahiError:
            return False
        return True

    async def _keep(self, call: FlightCall, fingerprint: bytes, entry: CacheEntry, flight_id: str) -> None:
        request = call.request
        semantic = call.semantic if fingerprint == request.fingerprint else None
        ttl_s = await self._cache.store(
            request.organization_id, fingerprint, entry, request.cache.ttl_s, flight_id, semantic=semantic
        )
        self._near.keep(request.organization_id, fingerprint, entry, ttl_s, call.flight.epoch, tier=request.exact_tier)

    async def fail(self, call: FlightCall, error: AsahiError) -> None:
        """Records every provider call of a request that got no answer."""
        if call.attempt is not None:
            call.failed.append(_estimated(call, call.attempt, error))
        if call.given_up:
            _DESERTED.labels("cancelled").inc()
        if not call.failed:
            return
        now = self._clock.now()
        reference = call.decision.reference_model if call.decision is not None else call.failed[-1].model
        charge = charge_calls(
            self._prices.of(call.request.organization_id), call.failed, reference, now, asked_to_keep=call.asked_to_keep
        )
        for one in call.failed:
            record = call_record(call.request, one, charge.calls[one.attempt], reached_caller=False, at=now)
            if call.decision is not None:
                record.task_type = call.decision.task_type
                record.routing_reason = call.decision.reason
            await self._usage.settle(record, soon=call.budgeted)


def _estimated(call: FlightCall, attempt: Attempt, error: AsahiError) -> AttemptOutcome:
    """A provider call whose outcome the router could not tell any more: what was received is what is known."""
    pieces = sum(1 for piece in call.flight.pieces if not piece.HasField("opening") and not piece.usage_only)
    usage = Usage(
        input_tokens=attempt.estimated_input_tokens, output_tokens=pieces, source=UsageSource.USAGE_SOURCE_ESTIMATED
    )
    return AttemptOutcome(
        attempt=attempt.attempt, model=attempt.model, provider=attempt.provider, outcome=error.code, usage=usage
    )
