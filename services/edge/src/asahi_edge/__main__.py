"""`python -m asahi_edge`: the edge as a process."""

import asahi_core.frugal  # noqa: F401 - before anything imports what it does without

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext

import uvicorn
from structlog.typing import FilteringBoundLogger

from asahi_core.ids import SystemIds
from asahi_core.logs import configure_logs
from asahi_core.process import run_service
from asahi_core.rpc.server import serve as serve_grpc
from asahi_core.settings import load_settings, refuse_to_start
from asahi_core.telemetry import Tracing, serve_metrics
from asahi_edge.api.protocol import protocol_with
from asahi_edge.api.tls import PublicTls, public_certificate
from asahi_edge.settings import EdgeSettings
from asahi_edge.wiring import Edge, edge

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
"""Longer than callers and proxies keep a connection that is not used (mostly 5 to 60 s): who closes first must not be
the edge, or a request that was just sent is lost."""


def main() -> None:
    """Serves HTTP and gRPC until SIGTERM or SIGINT; exit code 78 if the settings do not permit it."""
    settings = load_settings(EdgeSettings, "edge")
    log = configure_logs("edge", settings.log_level, settings.log_format)
    tracing = Tracing("edge", settings.otlp_endpoint, settings.trace_ratio)
    try:
        serve_metrics(settings.metrics_address)
        listener = _listen(settings.http_address)
    except OSError as error:
        refuse_to_start("edge", f"cannot listen on {settings.http_address}: {error.strerror}; choose another address")
    try:
        certificate = public_certificate(settings.public_tls_certificate, settings.public_tls_key)
        tls = PublicTls(certificate, log) if certificate is not None else None
    except OSError as error:
        refuse_to_start("edge", str(error))

    async def serve(stop: asyncio.Event) -> None:
        async with edge(settings, stop, tracing, log) as built, asyncio.TaskGroup() as servers:
            grpc_serves = asyncio.Event()
            servers.create_task(
                serve_grpc(
                    settings.grpc_address,
                    [built.add_servicer],
                    stop=stop,
                    grace_s=settings.shutdown_grace_seconds,
                    tracing=tracing,
                    log=log,
                    public=True,
                    public_certificate=certificate,
                    health_address=settings.health_address,
                    serving=grpc_serves,
                    read=built.rpc_door.read,
                )
            )
            await grpc_serves.wait()  # who asks over HTTP whether the edge is ready means both
            servers.create_task(_serve_http(built, listener, settings, tls=tls, stop=stop, log=log))
        tracing.close()

    try:
        run_service(serve)
    except* OSError as group:
        refuse_to_start("edge", "; ".join(str(error) for error in group.exceptions))


async def _serve_http(
    built: Edge,
    listener: socket.socket,
    settings: EdgeSettings,
    *,
    tls: PublicTls | None,
    stop: asyncio.Event,
    log: FilteringBoundLogger,
) -> None:
    grace_s = settings.shutdown_grace_seconds
    config = uvicorn.Config(
        built.app,
        http=protocol_with(SystemIds(), built.door, settings.connection_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace_s),
        timeout_keep_alive=_KEEP_ALIVE_S,
        ssl_context_factory=(lambda _config, _default: tls.context) if tls is not None else None,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    following = asyncio.create_task(tls.follow()) if tls is not None else None
    host, port = listener.getsockname()[:2]
    log.info("serving", address=f"{'http' if tls is None else 'https'}://{host}:{port}")
    await stop.wait()
    log.info("stopping", grace_s=grace_s)
    server.should_exit = True
    await serving
    if following is not None:
        following.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to `run_service`."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host.strip("[]"), int(port)), backlog=_BACKLOG, family=_family(host))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


if __name__ == "__main__":
    main()
