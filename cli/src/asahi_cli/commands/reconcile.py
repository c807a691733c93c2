"""`asahi reconcile`: the ledger beside a provider's own cost report."""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from asahi_cli.client import AsahiClient
from asahi_cli.display import print_table
from asahi_cli.errors import CommandError

_SHOWN = 20


def reconcile(client: AsahiClient, file: Path, *, provider: str | None, keys: Sequence[str], as_json: bool) -> None:
    """Imports a report and shows what does not agree, the largest difference first.

    Raises:
        CommandError: it cannot be read or understood, or the two do not agree.
    """
    media = "text/csv" if file.suffix.lower() == ".csv" else "application/json"
    try:
        with file.open("rb") as report:
            answer = client.upload(
                "/governance/reconciliations", report, media, provider=provider, keys=",".join(keys)
            ).body["data"]
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    found = answer["reconciliation"]
    if as_json:
        print(json.dumps(answer, default=float))
    else:
        _show(answer, found)
    if found["differing_lines"]:
        raise CommandError(f"the ledger and the bill do not agree; lines that differ: {found['differing_lines']}")


def _show(answer: dict[str, Any], found: dict[str, Any]) -> None:
    again = " (imported before)" if answer["known"] else ""
    print(f"{answer['format']}, {answer['first_day']} to {answer['last_day']}, {answer['rows']} rows{again}.")
    rate = found["capture_rate_percent"]
    rows = [
        ("capture rate", "–" if rate is None else f"{Decimal(rate):.2f} %"),
        *((name, f"{_dollars(found[field])} $") for name, field in _FIGURES),
        ("lines that agree", f"{found['agreeing_lines']} of {found['lines']}"),
        ("orphans", f"{found['orphans']}, {_dollars(found['orphans_cost'])} $"),
        ("calls without a price", str(found["price_unknown_calls"])),
    ]
    print_table(("figure", ">amount"), rows)
    if found["worst"]:
        head = ("day", "provider", "model", "item", "fault", ">charged", ">recorded", ">difference")
        print_table(head, [_line(line) for line in found["worst"][:_SHOWN]])


_FIGURES = (
    ("charged", "reported"),
    ("recorded", "ledger"),
    ("difference", "difference"),
    ("  of other prices", "price_difference"),
    ("  not recorded", "missing_in_ledger"),
    ("  not charged", "missing_in_report"),
    ("  rounding", "rounding"),
)


def _line(line: dict[str, Any]) -> tuple[str, ...]:
    named = (line["day"], line["provider"] or ", ".join(line["keys"]), line["model"], line["item"] or "all")
    amounts = (_dollars(line[name]) for name in ("reported", "ledger", "difference"))
    return (*named, line["fault"].replace("_", " "), *amounts)


def _dollars(amount: Decimal | int) -> str:
    return f"{Decimal(amount):f}"
