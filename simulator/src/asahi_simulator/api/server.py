"""The HTTP server: uvicorn on uvloop and httptools, drained when told to stop."""

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext

import uvicorn
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from asahi_simulator.api.exchange import TRANSPORT

_BACKLOG = 2048


def listen(address: str) -> socket.socket:
    """A listening socket on `address` (host:port; port 0: any); raises OSError."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), backlog=_BACKLOG, family=family)


async def serve(
    app: ASGIApp, listener: socket.socket, stop: asyncio.Event, grace_s: float, log: FilteringBoundLogger
) -> None:
    """Serves until `stop` is set; answers under way then have `grace_s` seconds."""
    config = uvicorn.Config(
        app,
        http=_BreakableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        headers=[("server", "asahi-simulator"), ("x-simulator", "true")],
        timeout_graceful_shutdown=int(grace_s),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    log.info("serving", address=f"http://{host}:{port}")
    await stop.wait()
    log.info("stopping", grace_s=grace_s)
    server.should_exit = True
    await serving


class _BreakableProtocol(HttpToolsProtocol):
    """Hands the connection over to the application, which may break it off."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]  # ours, not ASGI's


class _Server(uvicorn.Server):
    """Leaves signals to `run_service`."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
