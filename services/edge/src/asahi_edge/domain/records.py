"""Usage records: what billing is told of every provider call, and of every answer that needed none."""

from datetime import datetime

from asahi.billing.v1.billing_pb2 import Saving, UsageRecord
from asahi.router.v1.router_pb2 import Attempt, AttemptOutcome
from asahi_edge.domain.charge import Charge
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

ANSWERED = "answered"


def intent_record(request: InferenceRequest, attempt: Attempt, at: datetime) -> UsageRecord:
    """What is known of a provider call before it is made."""
    record = _blank(request, attempt.attempt, at)
    record.model, record.provider = attempt.model, attempt.provider
    record.purpose = attempt.purpose
    return record


def call_record(
    request: InferenceRequest, call: AttemptOutcome, charge: Charge, *, reached_caller: bool, at: datetime
) -> UsageRecord:
    """What a provider call was and cost."""
    record = _blank(request, call.attempt, at)
    record.model, record.provider = call.model, call.provider
    record.purpose = call.purpose
    record.usage.CopyFrom(call.usage)
    record.answered = reached_caller
    if call.outcome != ANSWERED:
        record.error_code = call.outcome
    record.latency_ms = call.duration_ms
    _add_charge(record, charge)
    return record


def reuse_record(request: InferenceRequest, result: InferenceResult, at: datetime) -> UsageRecord:
    """An answer for which no provider was called."""
    record = _blank(request, 0, at)
    record.model, record.provider = result.answer.model, result.answer.provider
    record.cache_tier, record.coalesced = result.cache_tier, result.coalesced
    record.reused_usage.CopyFrom(result.answer.usage)
    record.answered = True
    record.routing_reason = result.reason
    record.latency_ms, record.overhead_ms = result.latency_ms, result.overhead_ms
    _add_charge(record, result.charge)
    return record


def _add_charge(record: UsageRecord, charge: Charge) -> None:
    record.cost_nanos = charge.cost_nanos
    record.cost_overhead_nanos = charge.overhead_nanos
    record.price_version = charge.price_version
    record.price_unknown = charge.price_unknown
    record.savings.extend(Saving(technique=technique, nanos=nanos) for technique, nanos in charge.savings)
    if charge.original_nanos is not None:
        record.cost_original_nanos = charge.original_nanos


def _blank(request: InferenceRequest, attempt: int, at: datetime) -> UsageRecord:
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
    record.occurred_at.FromDatetime(at)
    return record
