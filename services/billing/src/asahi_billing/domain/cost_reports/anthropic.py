"""Anthropic's cost report: buckets of the Admin API, with amounts in cents as decimal texts.

Shape: https://platform.claude.com/docs/en/api/admin/cost_report. Grouped by description, a row names model, kind of
token, tier of service and size of the context; the key is the workspace.
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
)
from asahi_core.errors import InvalidRequest

_CENT = Decimal("0.01")
_ITEMS = {
    "uncached_input_tokens": "input",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
}


def add_bucket(charges: Charges, bucket: Mapping[str, object], number: int) -> None:
    """Adds a bucket, the `number`th of the file.

    Raises:
        InvalidRequest: it is none.
    """
    place = f"data[{number}]"
    start = moment(bucket.get("starting_at"), f"{place}.starting_at")
    end = moment(bucket["ending_at"], f"{place}.ending_at") if bucket.get("ending_at") is not None else None
    day = day_of(start, end, f"{place}.starting_at")
    charges.cover(day)
    results = bucket.get("results")
    if not isinstance(results, list):
        raise InvalidRequest(f"{place}.results is missing.", param=f"{place}.results")
    for index, row in enumerate(results):
        at = f"{place}.results[{index}]"
        if not isinstance(row, dict):
            raise InvalidRequest(f"{at} is no object.", param=at)
        _add(charges, day, row, at)


def _add(charges: Charges, day: str, row: Mapping[str, object], at: str) -> None:
    dollars_only(row.get("currency", "USD"), f"{at}.currency")
    nanos = nanos_of(row.get("amount"), _CENT, f"{at}.amount")
    model = text_of(row.get("model"), f"{at}.model")
    kind = text_of(row.get("token_type"), f"{at}.token_type")
    item = _ITEMS.get(kind, kind or text_of(row.get("cost_type"), f"{at}.cost_type"))
    if not model and not item:
        if not nanos:
            return
        message = f"{at} names neither model nor kind of cost; ask for the report with group_by[]=description."
        raise InvalidRequest(message, param=f"{at}.model")
    charges.add(ChargeKey(day, model, item, text_of(row.get("workspace_id"), f"{at}.workspace_id")), nanos, None)
