"""`asahi keys`: the keys of the organisation: make, list, revoke."""

import json
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from asahi_cli.client import AsahiClient
from asahi_cli.display import print_json, print_table

_PAGE = 1000


def create(client: AsahiClient, body: Mapping[str, object], *, as_json: bool) -> None:
    """Makes a key; its secret is alone on stdout, so that a script can take it.

    Raises:
        CommandError: it is refused.
    """
    answer = client.post("/governance/api-keys", body)
    if as_json:
        print_json(answer)
        return
    made = answer.body
    print(made["api_key"], flush=True)
    print(f"Key {made['id']} ({made['name']}; {', '.join(made['scopes'])}). It is shown this once.", file=sys.stderr)


def show(client: AsahiClient, *, revoked_too: bool, as_json: bool) -> None:
    """Lists the keys, newest first; their secrets are known to nobody.

    Raises:
        CommandError: they cannot be had.
    """
    keys = [key for key in _all(client) if revoked_too or not key.get("revoked_at")]
    if as_json:
        print(json.dumps({"data": keys}, default=_exact))
        return
    rows = [
        (
            key["id"],
            key["name"],
            ", ".join(key["scopes"]),
            ", ".join(key.get("allowed_models") or ["any"]),
            key["created_at"],
            _state(key),
        )
        for key in keys
    ]
    print_table(("id", "name", "scopes", "models", "created", "state"), rows)


def revoke(client: AsahiClient, key_id: str, *, as_json: bool) -> None:
    """Revokes a key for good.

    Raises:
        CommandError: it is refused.
    """
    answer = client.delete(f"/governance/api-keys/{quote(key_id, safe='')}")
    if as_json:
        print_json(answer)
        return
    print(f"Key {key_id} is revoked.")


def _all(client: AsahiClient) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = client.get("/governance/api-keys", limit=_PAGE, cursor=cursor).body
        keys += page["data"]
        cursor = page.get("next_cursor")
        if not cursor:
            return keys


def _state(key: Mapping[str, Any]) -> str:
    if key.get("revoked_at"):
        return f"revoked {key['revoked_at']}"
    return f"until {key['expires_at']}" if key.get("expires_at") else "active"


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value))
