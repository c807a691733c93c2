"""The paths on which providers tell what they charged: OpenAI's costs and Anthropic's cost report, all in one page."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from asahi_simulator.api.exchange import Exchange
from asahi_simulator.domain.bill import Charge, ChargeKey
from asahi_simulator.domain.calls import CallLog
from asahi_simulator.domain.rules import Api

OPENAI_PATH = "/v1/organization/costs"
ANTHROPIC_PATH = "/v1/organizations/cost_report"
_DAY = timedelta(days=1)
_LINE_ITEMS = {
    "input": "input",
    "cache_read": "cached input",
    "cache_write_5m": "cache write",
    "cache_write_1h": "cache write, 1h",
    "output": "output",
}
_TOKEN_TYPES = {
    "input": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}
_Charges = Iterable[tuple[ChargeKey, Charge]]


class CostReports:
    """Both reports, of what was served."""

    def __init__(self, calls: CallLog) -> None:
        self._calls = calls

    async def openai(self, exchange: Exchange) -> None:
        """`GET /v1/organization/costs?start_time=&end_time=`, grouped by line item and key; times in seconds."""
        query = dict(parse_qsl(exchange.query.decode("latin-1")))
        try:
            start, end = (_from_seconds(query.get(name)) for name in ("start_time", "end_time"))
        except (ValueError, OverflowError):
            await exchange.answer_json(400, {"error": {"message": "start_time and end_time are seconds since 1970."}})
            return
        days = [_openai_day(day, charges) for day, charges in self._days("openai", start, end)]
        await exchange.answer_json(200, {"object": "page", "data": days, "has_more": False, "next_page": None})

    async def anthropic(self, exchange: Exchange) -> None:
        """`GET /v1/organizations/cost_report?starting_at=&ending_at=`, grouped by description; times in RFC 3339."""
        query = dict(parse_qsl(exchange.query.decode("latin-1")))
        try:
            start, end = (_from_text(query.get(name)) for name in ("starting_at", "ending_at"))
        except ValueError:
            message = "starting_at and ending_at are times as 2026-11-24T00:00:00Z."
            await exchange.answer_json(
                400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
            )
            return
        days = [_anthropic_day(day, charges) for day, charges in self._days("anthropic", start, end)]
        await exchange.answer_json(200, {"data": days, "has_more": False, "next_page": None})

    def _days(self, api: Api, start: datetime | None, end: datetime | None) -> Iterator[tuple[datetime, _Charges]]:
        """Days that begin in [start, end) and have charges, in order."""
        charges = sorted(
            (item for item in self._calls.bill().charges.items() if item[0].api == api), key=lambda item: item[0]
        )
        for text, of_day in groupby(charges, key=lambda item: item[0].day):
            day = datetime.fromisoformat(f"{text}T00:00:00+00:00")
            if (start is None or start <= day) and (end is None or day < end):
                yield day, list(of_day)


def _openai_day(day: datetime, charges: _Charges) -> Any:
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": msgspec.Raw(_decimal(charge.amount, 15).encode()), "currency": "usd"},
            "line_item": f"{key.model}, {_LINE_ITEMS[key.kind]}",
            "project_id": None,
            "api_key_id": key.key or None,
            "quantity": charge.tokens,
        }
        for key, charge in charges
    ]
    begin, end = int(day.timestamp()), int((day + _DAY).timestamp())
    return {"object": "bucket", "start_time": begin, "end_time": end, "results": results}


def _anthropic_day(day: datetime, charges: _Charges) -> Any:
    results = [
        {
            "currency": "USD",
            "amount": _decimal(charge.amount, 13),
            "workspace_id": None,
            "description": f"{key.model} Usage - {key.kind}",
            "cost_type": "tokens",
            "context_window": "0-200k",
            "model": key.model,
            "service_tier": "standard",
            "token_type": _TOKEN_TYPES[key.kind],
        }
        for key, charge in charges
    ]
    begin, end = (one.isoformat().replace("+00:00", "Z") for one in (day, day + _DAY))
    return {"starting_at": begin, "ending_at": end, "results": results}


def _decimal(amount: int, places: int) -> str:
    whole, fraction = divmod(amount, 10**places)
    return f"{whole}.{fraction:0{places}d}".rstrip("0").rstrip(".")


def _from_seconds(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromtimestamp(int(text), UTC)


def _from_text(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
