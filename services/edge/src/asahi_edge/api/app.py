"""The HTTP application: routes, errors, documentation."""

import asyncio

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

import asahi_edge
from asahi_core.errors import AsahiError, InvalidRequest
from asahi_edge.api import (
    analytics,
    chat_completions,
    feedback,
    governance,
    health,
    infer,
    later,
    metrics,
    models,
)
from asahi_edge.api.errors import answer_asahi_error, answer_http_exception, answer_unknown_error
from asahi_edge.api.openapi import openapi_document
from asahi_edge.api.services import EdgeServices

_DESCRIPTION = """Asahi answers prompts from a cache, or by the cheapest model that meets quality and latency, and says
on every answer what it cost, what it would have cost, and why."""


def build_app(services: EdgeServices, stop: asyncio.Event) -> FastAPI:
    """The application; `stop` is set when the process is told to end."""
    app = FastAPIOffline(
        title="Asahi",
        version=asahi_edge.__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        static_url="/docs/assets",
    )
    app.state.services = services
    app.state.stop = stop
    for module in (governance, infer, feedback, chat_completions, models, metrics, analytics, health, later):
        app.include_router(module.router)
    app.add_exception_handler(AsahiError, answer_asahi_error)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_wrong_parameter)
    app.add_exception_handler(Exception, answer_unknown_error)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app


async def _answer_wrong_parameter(request: Request, error: Exception) -> Response:
    """Answers a query or path parameter that FastAPI refused."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    name = str(problems[0]["loc"][-1]) if problems else "query"
    fault = problems[0]["msg"] if problems else "not valid"
    sent = str(problems[0].get("input", ""))[:40] if problems else ""
    return await answer_asahi_error(request, InvalidRequest(f"{name}: {fault}, sent: {sent!r}.", param=name))
