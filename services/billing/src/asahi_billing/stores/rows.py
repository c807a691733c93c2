"""Usage records as rows of the ledger's table, and back without loss."""

from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Row

from asahi.billing.v1.billing_pb2 import Saving, UsageRecord
from asahi.type.v1.usage_pb2 import Usage

_TEXTS = (
    "organization_id",
    "request_id",
    "api_key_id",
    "user_id",
    "task_id",
    "routing_reason",
    "model",
    "provider",
    "price_version",
    "error_code",
    "task_type",
    "purpose",
)
_PLAIN = (
    "attempt",
    "api",
    "routing_mode",
    "cost_nanos",
    "cost_overhead_nanos",
    "price_unknown",
    "cache_tier",
    "latency_ms",
    "overhead_ms",
    "answered",
    "orphan",
    "coalesced",
)
_TOKENS = tuple(field.name for field in Usage.DESCRIPTOR.fields if field.name.endswith("_tokens"))


def to_row(record: UsageRecord) -> dict[str, Any]:
    """The record's columns, all but `id` and `repeats_answer`.

    Zero characters in texts become U+FFFD: PostgreSQL keeps none.
    """
    row: dict[str, Any] = {name: _text(getattr(record, name)) for name in _TEXTS}
    for name in _PLAIN:
        row[name] = getattr(record, name)
    usage = record.usage
    for name in _TOKENS:
        row[name] = getattr(usage, name)
    row["usage_source"] = usage.source
    row["usage_details"] = _compact(usage.details) if usage.HasField("details") else None
    row["occurred_at_ns"] = record.occurred_at.seconds * 1_000_000_000 + record.occurred_at.nanos
    row["cost_original_nanos"] = record.cost_original_nanos if record.HasField("cost_original_nanos") else None
    row["savings"] = {_text(saving.technique): saving.nanos for saving in record.savings}
    row["tags"] = {_text(name): _text(value) for name, value in record.tags.items()}
    row["reused_usage"] = _compact(record.reused_usage) if record.HasField("reused_usage") else None
    return row


def from_row(row: Row[Any]) -> UsageRecord:
    """The record that a row keeps. A usage that says nothing is absent."""
    columns = row._mapping
    record = UsageRecord(
        **{name: columns[name] for name in (*_TEXTS, *_PLAIN)},
        tags=columns["tags"],
        savings=[Saving(technique=technique, nanos=nanos) for technique, nanos in columns["savings"].items()],
        cost_original_nanos=columns["cost_original_nanos"],
    )
    record.occurred_at.FromNanoseconds(columns["occurred_at_ns"])
    usage = Usage(
        source=columns["usage_source"],
        details=columns["usage_details"],
        **{name: columns[name] for name in _TOKENS},
    )
    if usage.ByteSize():
        record.usage.CopyFrom(usage)
    if columns["reused_usage"] is not None:
        record.reused_usage.CopyFrom(Usage(**columns["reused_usage"]))
    return record


def _compact(usage: Message) -> dict[str, Any]:
    """What it says, as `Usage(**…)` takes it."""
    return {field.name: _compact(value) if isinstance(value, Message) else value for field, value in usage.ListFields()}


def _text(text: str) -> str:
    return text.replace("\0", "\ufffd") if "\0" in text else text
