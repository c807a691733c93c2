"""OpenAI's costs: buckets of the costs API, and rows of the CSV that its usage page exports.

Shape: https://developers.openai.com/api/reference/resources/organization (costs). A line item names model and kind of
token in one text: `gpt-5.4-mini-2026-03-17, cached input`, `priority | gpt-5.6-sol, output, long context`; charges that
are of no model have a name of their own, as `web search tool calls`.
"""

from collections.abc import Mapping
from decimal import Decimal

from asahi_billing.domain.cost_reports.charges import (
    ChargeKey,
    Charges,
    day_of,
    dollars_only,
    moment,
    nanos_of,
    text_of,
    tokens_of,
)
from asahi_core.errors import InvalidRequest

_DOLLAR = Decimal(1)
_ITEMS = {"input": "input", "cached input": "cache_read", "output": "output"}
COLUMNS = ("amount_value",)
"""Without these a CSV is no export of costs."""


def add_bucket(charges: Charges, bucket: Mapping[str, object], number: int) -> None:
    """Adds a bucket, the `number`th of the file.

    Raises:
        InvalidRequest: it is none.
    """
    place = f"data[{number}]"
    start = moment(bucket.get("start_time"), f"{place}.start_time")
    end = moment(bucket["end_time"], f"{place}.end_time") if bucket.get("end_time") is not None else None
    day = day_of(start, end, f"{place}.start_time")
    charges.cover(day)
    results = bucket.get("results", bucket.get("result"))
    if not isinstance(results, list):
        raise InvalidRequest(f"{place}.results is missing.", param=f"{place}.results")
    for index, row in enumerate(results):
        at = f"{place}.results[{index}]"
        amount = row.get("amount") if isinstance(row, dict) else None
        if not isinstance(amount, dict):
            raise InvalidRequest(f"{at}.amount is missing.", param=f"{at}.amount")
        dollars_only(amount.get("currency", "usd"), f"{at}.amount.currency")
        _add(charges, day, row, amount.get("value"), at)


def add_row(charges: Charges, row: Mapping[str, str], number: int) -> None:
    """Adds a row of a CSV, its `number`th line.

    Raises:
        InvalidRequest: it is none.
    """
    at = f"line {number}"
    started = row.get("start_time") or row.get("start_time_iso") or row.get("date")
    ended = row.get("end_time") or row.get("end_time_iso")
    if started and "-" in started and len(started) == len("2026-11-24"):
        started += "T00:00:00Z"
    start = moment(started, f"{at}: start_time")
    day = day_of(start, moment(ended, f"{at}: end_time") if ended else None, f"{at}: start_time")
    charges.cover(day)
    if row.get("amount_value"):
        dollars_only(row.get("amount_currency") or "usd", f"{at}: amount_currency")
        _add(charges, day, row, row["amount_value"], at)


def _add(charges: Charges, day: str, row: Mapping[str, object], amount: object, at: str) -> None:
    nanos = nanos_of(amount, _DOLLAR, f"{at}.amount.value")
    line_item = text_of(row.get("line_item"), f"{at}.line_item")
    if not line_item:
        if not nanos:
            return
        message = f"{at} has no line_item, so nobody knows the model; ask for costs with group_by=line_item."
        raise InvalidRequest(message, param=f"{at}.line_item")
    model, item = model_and_item(line_item)
    key = text_of(row.get("api_key_id"), f"{at}.api_key_id") or text_of(row.get("project_id"), f"{at}.project_id")
    charges.add(ChargeKey(day, model, item, key), nanos, tokens_of(row.get("quantity")))


def model_and_item(line_item: str) -> tuple[str, str]:
    """The model (empty: none is named) and the kind of token, or what else the charge is for."""
    named = line_item.rpartition(" | ")[2]
    head, *kinds = [part.strip() for part in named.split(",")]
    if not kinds:
        return "", line_item
    model, _, modality = head.partition(" ")
    known = _ITEMS.get(kinds[0])
    if known is not None and not modality:
        return model, known
    return model, " ".join(filter(None, (modality, *kinds)))
