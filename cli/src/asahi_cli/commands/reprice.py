"""`asahi reprice`: counter-entries for calls that were recorded at a price that was wrong."""

import json
from decimal import Decimal

from asahi_cli.client import AsahiClient


def reprice(
    client: AsahiClient,
    admin_secret: str,
    organization_id: str,
    start: str,
    end: str,
    *,
    models: str,
    book: bool,
    as_json: bool,
) -> None:
    """Says what a repricing would book, or books it.

    Raises:
        CommandError: it cannot be done.
    """
    body = {"organization_id": organization_id, "start": start, "end": end, "models": models, "dry_run": not book}
    done = client.post("/governance/repricings", body, {"x-admin-secret": admin_secret}).body["data"]
    if as_json:
        print(json.dumps(done, default=float))
        return
    print(f"{done['calls']} calls looked at, {done['changed_calls']} cost otherwise by {done['price_version']}:")
    print(f"{Decimal(done['difference']):+f} $ {'booked' if book else 'would be booked; add --book to book it'}.")
    if done["price_unknown_calls"]:
        print(f"{done['price_unknown_calls']} calls have no known price.")
