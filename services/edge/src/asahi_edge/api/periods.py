"""The parameters that analytics paths share, and what they ask for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query, Request

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi_core.errors import InvalidRequest
from asahi_edge.api.authentication import authorize
from asahi_edge.api.fields import closest
from asahi_edge.api.services import services_of
from asahi_edge.api.times import period_of

Period = Annotated[str | None, Query(description="1h, 24h, 7d, 30d, hour, day, week or month.")]
From = Annotated[str | None, Query(alias="from", description="RFC 3339, in place of `period`.")]
To = Annotated[str | None, Query(alias="to", description="RFC 3339; default now.")]
FLUSH_S = 2.0
"""How long a question waits for what this edge has answered to be in the ledger."""
_JUST_NOW = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and for which time."""

    verdict: Verdict
    name: str
    start: datetime
    end: datetime
    until: datetime
    """`end`, or a little later where that is now: what this edge has just answered is in it."""


async def asked(request: Request, period: str | None, start: str | None, end: str | None, default: str) -> Asked:
    """The caller and the period, once what this edge has answered is in the ledger.

    Raises:
        AsahiError: as `authorize`; InvalidRequest for a parameter that the path does not have, or its value.
    """
    services = services_of(request)
    verdict = await authorize(request, Scope.SCOPE_ANALYTICS)
    require_known(request)
    none = period is None and start is None and end is None
    name, begin, finish = period_of(default if none else period, start, end, services.clock.now())
    await services.usage.flush(FLUSH_S)
    return Asked(verdict, name, begin, finish, finish if end is not None else finish + _JUST_NOW)


def require_known(request: Request) -> None:
    """Raises InvalidRequest for a query parameter that the path does not have, or that comes twice."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            meant = closest(name, known)
            hint = f"did you mean '{meant}'?" if meant else f"the path takes {', '.join(known)}."
            raise InvalidRequest(f"There is no parameter {name[:40]!r}; {hint}", param=name[:40])
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidRequest(f"The parameter '{name}' comes twice; send it once.", param=name)
