"""`GET /analytics/export`: every usage row of a period, streamed as it is read."""

import csv
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.usage_pb2 import UsageSource
from asahi_core.money import dollars
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.answers import dollars_or_none
from asahi_edge.api.json import Dollars, encode
from asahi_edge.api.openapi.operations import documented_export
from asahi_edge.api.periods import From, Period, To, asked
from asahi_edge.api.schemas.figures import UsageRowView
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339

router = APIRouter(prefix="/analytics", tags=["Analytics"])
_COLUMNS = UsageRowView.__struct_fields__
_CSV, _NDJSON = "text/csv; charset=utf-8", "application/x-ndjson"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Rows = AsyncGenerator[Sequence[UsageRecord], None]


@router.get("/export", **documented_export())
async def export(
    request: Request,
    format: Annotated[  # noqa: A002 - the contract's name
        Literal["csv", "jsonl"], Query(description="CSV with a header, or a JSON object a line.")
    ] = "jsonl",
    period: Period = None,
    start: From = None,
    end: To = None,
) -> StreamingResponse:
    """Every usage row of a period (default 30d), oldest first. An answer that is cut short ends without its end."""
    time = await asked(request, period, start, end, "30d")
    pages = services_of(request).analytics.export(time.verdict.organization_id, time.start, time.until)
    first = await _first(pages)
    write, head, kind = (_csv, _csv_line(_COLUMNS), _CSV) if format == "csv" else (_jsonl, b"", _NDJSON)
    name = f"usage-{time.start:%Y%m%dT%H%M%SZ}-{time.end:%Y%m%dT%H%M%SZ}.{format}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(_written(head, first, pages, write), media_type=kind, headers=headers)


async def _written(
    head: bytes, first: Sequence[UsageRecord], pages: Rows, write: Callable[[UsageRecord], bytes]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(pages):
        yield head + b"".join(map(write, first))
        async for page in pages:
            yield b"".join(map(write, page))


async def _first(pages: Rows) -> Sequence[UsageRecord]:
    """The first page, so that what is refused is answered with its own status."""
    async for page in pages:
        return page
    return ()


def _jsonl(record: UsageRecord) -> bytes:
    return encode(_view(record)) + b"\n"


def _csv(record: UsageRecord) -> bytes:
    view = _view(record)
    return _csv_line([_cell(getattr(view, name)) for name in _COLUMNS])


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _cell(value: Any) -> str:
    """Texts that a spreadsheet would take for a formula get an apostrophe before them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Dollars):
        return dollars(value.nanos)
    if isinstance(value, dict):
        return encode(value).decode() if value else ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _view(record: UsageRecord) -> UsageRowView:
    usage = record.usage
    source = UsageSource.Name(usage.source).removeprefix("USAGE_SOURCE_").lower() if usage.source else None
    return UsageRowView(
        request_id=record.request_id,
        attempt=record.attempt,
        timestamp=rfc3339(record.occurred_at),
        api_key_id=record.api_key_id,
        user_id=record.user_id or None,
        task_id=record.task_id or None,
        task_type=record.task_type or None,
        tags=dict(record.tags),
        model=record.model,
        provider=record.provider,
        tokens_input=prompt_tokens(usage),
        tokens_input_cached=usage.cache_read_tokens,
        tokens_output=usage.output_tokens,
        cost=None if record.price_unknown else Dollars(record.cost_nanos),
        cost_overhead=Dollars(record.cost_overhead_nanos),
        cost_original=dollars_or_none(record.cost_original_nanos if record.HasField("cost_original_nanos") else None),
        cache_tier=record.cache_tier,
        coalesced=record.coalesced,
        answered=record.answered,
        orphan=record.orphan,
        usage_source=source,
        price_version=record.price_version or None,
        latency_ms=round(record.latency_ms, 3),
        overhead_ms=round(record.overhead_ms, 3),
        error_code=record.error_code or None,
    )
