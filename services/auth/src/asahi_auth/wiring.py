"""Builds the auth service's objects: the only place that knows of what they are made."""

import asyncio
from contextlib import closing
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from asahi.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from asahi_auth.api.servicer import AuthServicer
from asahi_auth.domain.authentication import Authentication
from asahi_auth.domain.governance import Governance
from asahi_auth.domain.watch import VerdictWatch
from asahi_auth.metrics import AuthCollector
from asahi_auth.settings import AuthSettings
from asahi_auth.stores.opening import open_store
from asahi_auth.stores.sql import SqlStore
from asahi_core.clock import Clock
from asahi_core.ids import Ids
from asahi_core.rpc.server import serve
from asahi_core.telemetry import Tracing


@dataclass(frozen=True, slots=True)
class AuthService:
    """The service's objects, put together."""

    servicer: AuthServicer
    collector: AuthCollector
    store: SqlStore
    watch: VerdictWatch


def build(settings: AuthSettings, clock: Clock, ids: Ids, log: FilteringBoundLogger) -> AuthService:
    """The service as `settings` say, with its database open and at the newest schema.

    Raises:
        OSError: the database cannot be used.
    """
    store = open_store(settings.data_dir)
    watch = VerdictWatch(store, log)
    governance = Governance(store, clock, ids, signup_open=settings.signup == "open", revoked=watch.hasten)
    servicer = AuthServicer(Authentication(store, clock), governance, watch)
    return AuthService(servicer, AuthCollector(watch), store, watch)


async def run(service: AuthService, settings: AuthSettings, log: FilteringBoundLogger, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then closes the database.

    Raises:
        OSError: the address cannot be listened on.
    """
    with closing(service.store), closing(Tracing("auth", settings.otlp_endpoint, settings.trace_ratio)) as tracing:
        await service.watch.start()
        watching = asyncio.create_task(service.watch.run(stop))
        # Without the watch revocations would go unheard, so the service ends with it, whatever ended it.
        watching.add_done_callback(lambda _: stop.set())
        try:
            await serve(
                settings.grpc_address,
                [lambda server: add_AuthServiceServicer_to_server(service.servicer, server)],
                stop=stop,
                grace_s=settings.shutdown_grace_seconds,
                tracing=tracing,
                log=log,
            )
        finally:
            stop.set()
            await watching
