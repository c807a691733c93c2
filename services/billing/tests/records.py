"""Usage records as an edge would send them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from asahi.billing.v1.billing_pb2 import Saving, UsageRecord
from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi.type.v1.usage_pb2 import Usage, UsageDetails, UsageSource
from asahi_core.prices import load_price_book

ORGANIZATION = "org_0123456789abcdefghijklmn"
OTHER = "org_zyxwvutsrqponmlkjihgfedc"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MODEL = "gpt-4o-mini"
PRICES = load_price_book()


def request_id(number: int) -> str:
    """A UUIDv7; those of larger numbers are younger."""
    milliseconds = int(NOON.timestamp() * 1000) + number
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number))


def usage(details: UsageDetails | None = None, **tokens: int) -> Usage:
    """What a provider reported."""
    return Usage(**tokens, details=details, source=UsageSource.USAGE_SOURCE_PROVIDER)


def at(seconds: float) -> datetime:
    """Seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def call(number: int = 1, attempt: int = 1, *, seconds: float | None = None, **fields: Any) -> UsageRecord:
    """A provider call, priced by the book and answered, `seconds` (else `number`) after noon."""
    record = UsageRecord(
        organization_id=ORGANIZATION,
        request_id=request_id(number),
        attempt=attempt,
        api_key_id="key_1",
        api=Api.API_INFER,
        routing_mode=RoutingMode.ROUTING_MODE_AUTOPILOT,
        routing_reason="The cheapest model that meets 3.5.",
        model=MODEL,
        provider="openai",
        usage=usage(input_tokens=1000, output_tokens=500),
        price_version=PRICES.version,
        latency_ms=800.0,
        overhead_ms=3.0,
        answered=True,
    )
    record.occurred_at.FromDatetime(at(number if seconds is None else seconds))
    _set(record, fields)
    if "cost_nanos" not in fields and not record.price_unknown:
        cost = PRICES.cost_nanos(record.model, record.usage, record.occurred_at.ToDatetime(UTC))
        assert cost is not None
        record.cost_nanos = cost + record.cost_overhead_nanos
    return record


def hit(number: int = 1, *, tier: int = 1, saved: int = 600, **fields: Any) -> UsageRecord:
    """An answer from the cache."""
    defaults: dict[str, Any] = {
        "cache_tier": tier,
        "usage": Usage(),
        "cost_nanos": 0,
        "cost_original_nanos": saved,
        "savings": {f"cache_tier_{tier}": saved},
        "latency_ms": 2.0,
        "reused_usage": usage(input_tokens=1000, output_tokens=500),
    }
    return call(number, 0, **{**defaults, **fields})


def compared(record: UsageRecord, savings: Mapping[str, int]) -> UsageRecord:
    """The record with savings, and the original cost that follows from them."""
    record.cost_original_nanos = record.cost_nanos + sum(savings.values())
    _set(record, {"savings": savings})
    return record


def in_order(records: Iterable[UsageRecord]) -> list[UsageRecord]:
    """By request and attempt."""
    return sorted(records, key=lambda record: (record.organization_id, record.request_id, record.attempt))


def _set(record: UsageRecord, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name == "savings":
            del record.savings[:]
            record.savings.extend(Saving(technique=technique, nanos=nanos) for technique, nanos in value.items())
        elif name == "tags":
            record.tags.update(value)
        elif isinstance(value, Usage) and not (value.ByteSize() or name == "reused_usage"):
            record.ClearField(name)  # type: ignore[arg-type]  # a usage that says nothing is absent
        elif isinstance(value, Usage):
            getattr(record, name).CopyFrom(value)
        else:
            setattr(record, name, value)
