"""`asahi audit`: who did what when in the organisation, and whether that was tampered with."""

import json
from decimal import Decimal
from typing import Any

from asahi_cli.client import AsahiClient
from asahi_cli.display import print_table
from asahi_cli.errors import CommandError

_PAGE = 1000


def show(client: AsahiClient, most: int, *, as_json: bool) -> None:
    """Lists at most `most` entries, newest first.

    Raises:
        CommandError: they cannot be had.
    """
    entries = _newest(client, most)
    if as_json:
        print(json.dumps({"data": entries}, default=_exact))
        return
    rows = [
        (
            str(entry["sequence"]),
            entry["occurred_at"],
            entry["actor"],
            entry["action"],
            entry["target"],
            entry["outcome"],
            entry.get("address") or "–",
        )
        for entry in entries
    ]
    print_table((">entry", "when", "who", "what", "to what", "outcome", "from"), rows)


def verify(client: AsahiClient, *, as_json: bool) -> None:
    """Says whether the chain is as it was written, and how far its checkpoints reach.

    Raises:
        CommandError: it is not, or that cannot be had.
    """
    check = client.get("/governance/compliance/report").body["data"]["audit"]
    faults = check["faults"]
    if as_json:
        print(json.dumps(check, default=_exact))
    else:
        print(f"{check['entries']} entries recomputed, {check['checkpoints']} checkpoints compared.")
        print(_reach(check))
        if faults:
            print_table((">entry", "fault", "what is wrong"), [_row(fault) for fault in faults])
    if not check["intact"]:
        raise CommandError(f"the audit chain is not as it was written; faults: {len(faults)}")


def _newest(client: AsahiClient, most: int) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(entries) < most:
        page = client.get("/governance/audit", limit=min(_PAGE, most - len(entries)), cursor=cursor).body
        entries += page["data"]
        cursor = page.get("next_cursor")
        if not cursor:
            break
    return entries


def _reach(check: dict[str, Any]) -> str:
    if not check["last_checkpoint_at"]:
        return "There is no checkpoint yet: a loss of the last entries cannot be seen."
    last, at = check["last_checkpoint_sequence"], check["last_checkpoint_at"]
    return f"The last checkpoint is of entry {last} ({at}): a loss of entries after it cannot be seen."


def _row(fault: dict[str, Any]) -> tuple[str, str, str]:
    return str(fault["sequence"]), fault["kind"], fault["description"]


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value))
