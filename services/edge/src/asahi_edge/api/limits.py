"""What answers say of rate limits: headers on every answer to inference, on failures too. And callers' addresses."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import Request

from asahi_edge.api.services import services_of
from asahi_edge.domain.address_limits import client_address
from asahi_edge.domain.limits import Decision, Standing

_KEY = "asahi.limits"
_DEGRADED = b"x-asahi-degraded"


def told_in_headers(request: Request) -> Callable[[Decision], None]:
    """What the pipeline is to tell of limits; `with_limit_headers` writes it."""

    def tell(decision: Decision) -> None:
        request.scope[_KEY] = decision

    return tell


def with_limit_headers(scope: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """`headers` with those of the limits that were decided on, of the tightest where several apply."""
    decision: Decision | None = scope.get(_KEY)
    all_headers = list(headers)
    if decision is None:
        return all_headers
    all_headers += [(name.encode(), value.encode()) for name, value in limit_headers(decision).items()]
    if decision.degraded:
        told = [value for name, value in all_headers if name == _DEGRADED]
        all_headers = [header for header in all_headers if header[0] != _DEGRADED]
        all_headers.append((_DEGRADED, b",".join([*told, b"redis"])))
    return all_headers


def limit_headers(decision: Decision) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
    headers = {}
    for unit in ("requests", "tokens"):
        standings = [standing for standing in decision.standings if standing.limit.unit == unit]
        if standings:
            tightest = min(standings, key=_tightness)
            headers[f"x-ratelimit-limit-{unit}"] = str(tightest.limit.per_minute)
            headers[f"x-ratelimit-remaining-{unit}"] = str(tightest.remaining)
            headers[f"x-ratelimit-reset-{unit}"] = duration(tightest.reset_s)
    return headers


def duration(seconds: float) -> str:
    """Whole seconds, rounded up, as OpenAI's headers write them: `1s`, `6m0s`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def address_of(request: Request) -> str:
    """The address that the request came from; empty: unknown."""
    peer = request.client.host if request.client is not None else ""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    return client_address(peer, forwarded, services_of(request).trusted_proxies)


def _tightness(standing: Standing) -> tuple[int, int]:
    return standing.remaining, standing.limit.per_minute
