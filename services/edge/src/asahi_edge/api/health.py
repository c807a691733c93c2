"""`/health*`: what people and probes ask."""

from fastapi import APIRouter, Request, Response

import asahi_edge
from asahi_edge.api.json import json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.health import ComponentView, HealthView, ProbeView
from asahi_edge.api.services import services_of

router = APIRouter(prefix="/health", tags=["Health"])


@router.get("", **documented(summary="State of every component", answer=HealthView, errors=(), unhealthy=503))
async def health(request: Request) -> Response:
    """The state of every component; 503 only when inference cannot be served."""
    services = services_of(request)
    found = await services.health.check()
    view = HealthView(
        status=found.status,
        version=asahi_edge.__version__,
        uptime_seconds=round(services.clock.monotonic() - services.started, 3),
        components={n: ComponentView(c.status, c.detail) for n, c in found.components.items()},
    )
    return json_response(view, status=503 if found.status == "unhealthy" else 200)


@router.get("/live", **documented(summary="Does the process turn?", answer=ProbeView, errors=()))
async def live(_request: Request) -> Response:
    """The process turns. Looks at no store and no other service."""
    return json_response(ProbeView("ok"))


@router.get("/ready", **documented(summary="Is it ready?", answer=ProbeView, errors=(), unhealthy=503))
async def ready(request: Request) -> Response:
    """Ready from the end of start-up to SIGTERM. Looks at no store and no other service.

    Start-up ends when auth and router have answered once, or half a minute after its beginning.
    """
    if not services_of(request).health.started:
        return json_response(ProbeView("starting"), status=503)
    if request.app.state.stop.is_set():
        return json_response(ProbeView("stopping"), status=503)
    return json_response(ProbeView("ok"))
