"""The outermost layer: ids in and out, deadline, trace, access log, and the last guard against unknown errors."""

import asyncio
import re
import time
from itertools import chain
from typing import Any

from opentelemetry.trace import SpanKind
from prometheus_client import Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from asahi_core.context import CallContext, current_call
from asahi_core.errors import HeadersTooLarge
from asahi_core.ids import Ids
from asahi_core.telemetry import Tracing
from asahi_edge.api.bodies import SHARE
from asahi_edge.api.door import PLACE
from asahi_edge.api.errors import answer_asahi_error
from asahi_edge.api.limits import with_limit_headers
from asahi_edge.domain.admission import Place, arrived
from asahi_edge.domain.body_budget import BodyShare

_SAFE_LABEL = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SECONDS = Histogram(
    "asahi_http_request_duration_seconds",
    "Time until an answer was sent.",
    ["route", "status"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


class RequestScope:
    """A plain ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ids: Ids,
        tracing: Tracing,
        log: FilteringBoundLogger,
        timeout_s: float,
        max_header_bytes: int,
    ) -> None:
        self._app = app
        self._ids = ids
        self._tracing = tracing
        self._log = log
        self._timeout_s = timeout_s
        self._max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = self._ids.request_id()
        own_id = request_id.encode("ascii")
        label = label_of(headers.get(b"x-request-id"), own_id)
        facts: dict[str, Any] = {}
        scope["asahi"] = facts
        place: Place | None = scope.get(PLACE)
        arrived.set(place)
        status = 0

        async def send_with_ids(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *with_limit_headers(scope, message["headers"]),
                    (b"x-request-id", label),
                    (b"request-id", label),
                    (b"x-asahi-request-id", own_id),
                ]
            await send(message)

        deadline = asyncio.get_running_loop().time() + self._timeout_s
        incoming = _traceparent(headers.get(b"traceparent"))
        with self._tracing.span(f"{scope['method']} {scope['path']}", incoming, SpanKind.SERVER) as traceparent:
            current_call.set(CallContext(request_id, traceparent, deadline))
            try:
                size = (
                    len(scope["path"])
                    + len(scope["query_string"])
                    + sum(map(len, chain.from_iterable(scope["headers"])))
                )
                app = self._app if size <= self._max_header_bytes else self._refuse_headers
                await app(scope, receive, send_with_ids)
            except Exception:
                # Starlette has answered 500 already and raises once more for the log.
                self._log.exception("request_failed", path=scope["path"])
                if status == 0:
                    raise
            finally:
                _leave(place, scope.get(SHARE))
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "other")
                _SECONDS.labels(route, str(status)).observe(seconds)
                self._log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(seconds * 1000, 2),
                    **facts,
                )

    async def _refuse_headers(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._max_header_bytes
        error = HeadersTooLarge(f"Headers and query have more than {limit} bytes together, which is the most taken.")
        response = await answer_asahi_error(Request(scope), error)
        await response(scope, receive, send)


def _leave(place: Place | None, share: BodyShare | None) -> None:
    """Gives back what the request has taken, its body with its place: that may have been taken over."""
    if place is not None:
        place.leave()
    if share is None:
        return
    if place is not None:
        place.after(share.free)
    else:
        share.free()


def label_of(sent: bytes | None, request_id: bytes) -> bytes:
    """The caller's label if it is short and safe, else our id."""
    return sent if sent is not None and _SAFE_LABEL.fullmatch(sent) else request_id


def _traceparent(sent: bytes | None) -> str:
    return sent.decode("ascii") if sent is not None and _TRACEPARENT.fullmatch(sent) else ""
