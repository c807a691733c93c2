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
    breakdowns,
    chat_completions,
    embeddings,
    export,
    feedback,
    health,
    infer,
    messages,
    metrics,
    models,
    outlook,
    quote,
    reconciliation,
    responses,
    stored_responses,
)
from asahi_edge.api.errors import answer_asahi_error, answer_http_exception, answer_unknown_error
from asahi_edge.api.governance import routes as governance
from asahi_edge.api.openapi.document import openapi_document
from asahi_edge.api.services import EdgeServices

_DESCRIPTION = """Asahi answers prompts from a cache, or by the cheapest model that meets quality and latency, and says
on every answer what it cost, what it would have cost, and why.

**Begin** with `POST /signup`, keep the key, and send it with every request as `Authorization: Bearer ask_…` or
`x-api-key: ask_…`. Then `POST /infer`, or point an SDK of OpenAI at `/v1`.

**Bodies** are JSON in UTF-8, declared as `application/json`: at most 32 MB, at most 128 levels deep, no name twice in
one object. `/infer` ignores fields that it does not know and names them in the header `x-asahi-warning`; `/v1/*` passes
them to the provider; everywhere else they are refused.

**Errors** have one shape, `{"error": {"message", "type", "code", "param", "request_id"}}`, which OpenAI's SDKs read;
paths of Anthropic's API answer in theirs. What failed is never stored.

**Money** is in dollars, as JSON numbers with at most nine decimals, exact. **Times** are RFC 3339.
**Every answer** has the headers `x-request-id` (yours, if you sent one) and `x-asahi-request-id` (ours)."""


_INFERENCE = (infer, quote, feedback, chat_completions, responses, stored_responses, messages, embeddings, models)
_FIGURES = (metrics, analytics, breakdowns, outlook, export, reconciliation)
ROUTERS = tuple(module.router for module in (governance, *_INFERENCE, *_FIGURES, health))


def build_app(services: EdgeServices, stop: asyncio.Event) -> FastAPI:
    """The application; `stop` is set when the process is told to end."""
    app = FastAPIOffline(
        title="Asahi",
        version=asahi_edge.__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        static_url="/docs/assets",
    )
    app.state.services = services
    app.state.stop = stop
    for router in ROUTERS:
        app.include_router(router)
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
