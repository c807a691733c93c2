"""`asahi ask`: one prompt to `POST /infer`; the answer on stdout, what it cost and why on stderr."""

import sys
from collections.abc import Mapping
from typing import Any

from asahi_cli.client import AsahiClient
from asahi_cli.display import dollars, percent, print_json
from asahi_cli.terminal import plain, styled


def ask(client: AsahiClient, body: Mapping[str, object], *, use_cache: bool, as_json: bool, colour: bool) -> None:
    """Prints the answer to `body`, a request of `/infer`.

    Raises:
        CommandError: there is none.
    """
    headers = {} if use_cache else {"x-asahi-cache": "off"}
    answer = client.post("/infer", body, headers)
    if as_json:
        print_json(answer)
        return
    text = str(answer.body.get("response", ""))
    print(plain(text) if sys.stdout.isatty() else text, flush=True)
    print(styled(_account(answer.body), "dim", colour=colour), file=sys.stderr)


def _account(body: Mapping[str, Any]) -> str:
    model = f"{body.get('model_used')} by {body.get('provider')}"
    source = f"from the cache (tier {body.get('cache_tier')}), written by {model}" if body.get("cache_hit") else model
    cost = (
        f"cost {dollars(body.get('cost'))}, without Asahi {dollars(body.get('cost_original'))}, "
        f"saved {percent(body.get('cost_savings_percent'))}"
    )
    return plain(f"\n{source} · {cost} · {body.get('latency_ms', 0):.1f} ms\n{body.get('routing_reason', '')}")
