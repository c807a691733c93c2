"""What answers say of rate limits: headers on every answer to inference, on failures too. And callers' addresses."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request

from asahi_edge.api.errors import wants_anthropic_shape
from asahi_edge.api.services import services_of
from asahi_edge.domain.address_limits import client_address
from asahi_edge.domain.limits import Decision, Standing, Unit

_KEY = "asahi.limits"
_MOMENT = "asahi.limits.moment"
_DEGRADED = b"x-asahi-degraded"


def told_in_headers(request: Request) -> Callable[[Decision], None]:
    """What the pipeline is to tell of limits; `with_limit_headers` writes it."""

    def tell(decision: Decision) -> None:
        request.scope[_KEY] = decision
        if wants_anthropic_shape(request):
            request.scope[_MOMENT] = services_of(request).clock.now()

    return tell


def with_limit_headers(scope: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """`headers` with those of the limits that were decided on, of the tightest where several apply."""
    decision: Decision | None = scope.get(_KEY)
    all_headers = list(headers)
    if decision is None:
        return all_headers
    told_headers = limit_headers(decision)
    if _MOMENT in scope:
        told_headers |= anthropic_limit_headers(decision, scope[_MOMENT])
    all_headers += [(name.encode(), value.encode()) for name, value in told_headers.items()]
    if decision.degraded:
        told = b",".join(value for name, value in all_headers if name == _DEGRADED).split(b",")
        all_headers = [header for header in all_headers if header[0] != _DEGRADED]
        all_headers.append((_DEGRADED, b",".join(dict.fromkeys(filter(None, [*told, b"redis"])))))
    return all_headers


def limit_headers(decision: Decision) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
    headers = {}
    for unit, tightest in _tightest(decision).items():
        headers[f"x-ratelimit-limit-{unit}"] = str(tightest.limit.per_minute)
        headers[f"x-ratelimit-remaining-{unit}"] = str(tightest.remaining)
        headers[f"x-ratelimit-reset-{unit}"] = duration(tightest.reset_s)
    return headers


def anthropic_limit_headers(decision: Decision, now: datetime) -> dict[str, str]:
    """`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`; resets are moments, in whole seconds."""
    headers = {}
    for unit, tightest in _tightest(decision).items():
        reset = now + timedelta(seconds=math.ceil(tightest.reset_s))
        headers[f"anthropic-ratelimit-{unit}-limit"] = str(tightest.limit.per_minute)
        headers[f"anthropic-ratelimit-{unit}-remaining"] = str(tightest.remaining)
        headers[f"anthropic-ratelimit-{unit}-reset"] = reset.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
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


def _tightest(decision: Decision) -> dict[Unit, Standing]:
    """The tightest limit of each unit."""
    found: dict[Unit, Standing] = {}
    for standing in decision.standings:
        unit = standing.limit.unit
        found[unit] = min(found.get(unit, standing), standing, key=_tightness)
    return dict(sorted(found.items()))


def _tightness(standing: Standing) -> tuple[int, int]:
    return standing.remaining, standing.limit.per_minute
