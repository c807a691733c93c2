"""Cost reports as providers write them."""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

_NAMES = {"input": "input", "cache_read": "cached input", "output": "output"}
_KINDS = {
    "input": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a report; the amount in dollars."""

    day: date
    model: str
    item: str
    dollars: Decimal
    tokens: int = 0
    key: str = ""

    def times(self, factor: str) -> "Row":
        """The row at another price."""
        return replace(self, dollars=self.dollars * Decimal(factor))


def openai(rows: Iterable[Row], *days: date) -> bytes:
    """JSON of the costs API, a page of it; `days` are covered even without a row."""
    return _page(_buckets(rows, days, _openai_bucket), object="page")


def anthropic(rows: Iterable[Row], *days: date) -> bytes:
    """JSON of the cost report."""
    return _page(_buckets(rows, days, _anthropic_bucket))


def openai_csv(rows: Iterable[Row]) -> bytes:
    """The export of the usage page."""
    file = io.StringIO()
    names = ("start_time", "end_time", "start_time_iso", "end_time_iso", "amount_value", "amount_currency", "line_item")
    writer = csv.writer(file)
    writer.writerow([*names, "project_id", "organization_id", "organization_name"])
    for row in rows:
        start = datetime.combine(row.day, datetime.min.time(), UTC)
        end = start + timedelta(days=1)
        times = [int(start.timestamp()), int(end.timestamp()), start.isoformat(), end.isoformat()]
        item = f"{row.model}, {_NAMES[row.item]}"
        writer.writerow([*times, f"{row.dollars:f}", "usd", item, row.key, "org-1", "Personal"])
    return file.getvalue().encode()


async def pieces(report: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """The file as it comes in."""
    for start in range(0, len(report), size):
        yield report[start : start + size]


def _buckets(rows: Iterable[Row], days: Iterable[date], bucket: Any) -> list[Any]:
    by_day: dict[date, list[Row]] = {day: [] for day in days}
    for row in rows:
        by_day.setdefault(row.day, []).append(row)
    return [bucket(day, found) for day, found in sorted(by_day.items())]


def _page(buckets: list[Any], **fields: Any) -> bytes:
    return json.dumps({**fields, "data": buckets, "has_more": False, "next_page": None}).encode()


def _openai_bucket(day: date, rows: list[Row]) -> Any:
    start = int(datetime.combine(day, datetime.min.time(), UTC).timestamp())
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": f"{row.dollars:f}", "currency": "usd"},
            "line_item": f"{row.model}, {_NAMES[row.item]}",
            "project_id": row.key or None,
            "api_key_id": None,
            "quantity": row.tokens,
        }
        for row in rows
    ]
    return {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results}


def _anthropic_bucket(day: date, rows: list[Row]) -> Any:
    results = [
        {
            "currency": "USD",
            "amount": f"{row.dollars * 100:f}",
            "workspace_id": row.key or None,
            "description": f"{row.model} Usage",
            "cost_type": "tokens",
            "context_window": "0-200k",
            "model": row.model,
            "service_tier": "standard",
            "token_type": _KINDS[row.item],
        }
        for row in rows
    ]
    start, end = (f"{one.isoformat()}T00:00:00Z" for one in (day, day + timedelta(days=1)))
    return {"starting_at": start, "ending_at": end, "results": results}
