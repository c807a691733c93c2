"""Builds the auth service's objects: the only place that knows of what they are made."""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from asahi.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from asahi_auth.api.servicer import AuthServicer
from asahi_auth.domain.administration import Administration
from asahi_auth.domain.audit import AuditKeys
from asahi_auth.domain.audit_checkpoints import Checkpointer
from asahi_auth.domain.audit_trail import AuditTrail
from asahi_auth.domain.authentication import Authentication
from asahi_auth.domain.governance import Governance
from asahi_auth.domain.people import ClaimRules, People
from asahi_auth.domain.policies import Policies
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.watch import VerdictWatch
from asahi_auth.metrics import AuthCollector
from asahi_auth.settings import AuthSettings
from asahi_auth.stores.audit import AuditChains
from asahi_auth.stores.audit_changes import ChangeAppender
from asahi_auth.stores.audit_key import audit_secret
from asahi_auth.stores.audit_log import SqlAuditLog
from asahi_auth.stores.checkpoints import CheckpointFile
from asahi_auth.stores.copying import copy_database
from asahi_auth.stores.opening import SCHEMA, open_store
from asahi_auth.stores.sql import SqlStore
from asahi_auth.stores.transaction import SqlTransaction
from asahi_core.clock import Clock
from asahi_core.ids import Ids
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.server import serve
from asahi_core.sql.databases import Database, database_at
from asahi_core.sql.engines import open_engine
from asahi_core.telemetry import Tracing

if TYPE_CHECKING:
    from asahi_auth.clients.issuer import OidcIssuer


@dataclass(frozen=True, slots=True)
class AuthService:
    """The service's objects, put together."""

    servicer: AuthServicer
    collector: AuthCollector
    store: SqlStore
    watch: VerdictWatch
    issuer: "OidcIssuer | None"
    audit_log: SqlAuditLog
    checkpointer: Checkpointer


def build(settings: AuthSettings, clock: Clock, ids: Ids, log: FilteringBoundLogger) -> AuthService:
    """The service as `settings` say, with its database open and at the newest schema.

    Raises:
        OSError: the database cannot be used.
    """
    database_url = settings.database_url.get_secret_value()
    kept_in = database(settings)
    secret = audit_secret(settings.audit_key.get_secret_value(), settings.data_dir, shared=bool(database_url))
    keys = AuditKeys(secret)
    chains = AuditChains(keys)
    appender = ChangeAppender(chains)
    store = open_store(settings.data_dir, database_url, appender, migrate_first=settings.migrate_at_start)
    audit_log = SqlAuditLog(open_engine(kept_in, SCHEMA.service, connections=2), chains, SqlTransaction)
    book = CheckpointFile(settings.data_dir / "audit-checkpoints.jsonl")
    watch = VerdictWatch(store, log)
    governance = Governance(store, clock, ids, signup=settings.signup, revoked=watch.hasten)
    issuer = _issuer(settings, log) if settings.oidc_issuer else None
    people = People(issuer, store, _claim_rules(settings), clock)
    servicer = AuthServicer(
        authentication=Authentication(store, clock),
        governance=governance,
        administration=Administration(store, clock, ids, watch.hasten),
        policies=Policies(store, clock, watch.hasten),
        watch=watch,
        people=people,
        audit=AuditTrail(audit_log, book, keys, clock),
    )
    checkpointer = Checkpointer(audit_log, book, keys, clock, log)
    return AuthService(servicer, AuthCollector(watch), store, watch, issuer, audit_log, checkpointer)


def database(settings: AuthSettings) -> Database:
    """Where organisations, keys and the audit chain are kept; raises OSError as `database_at` does."""
    return database_at(settings.database_url.get_secret_value(), settings.data_dir / "auth.db")


def copy_to_postgresql(settings: AuthSettings) -> Mapping[str, int]:
    """Copies the embedded database to the one of DATABASE_URL; how many rows, by table.

    Raises:
        OSError: it cannot be copied; nothing was.
    """
    return copy_database(settings.data_dir / "auth.db", settings.database_url.get_secret_value())


def _issuer(settings: AuthSettings, log: FilteringBoundLogger) -> "OidcIssuer":
    from asahi_auth.clients.issuer import OidcIssuer  # noqa: PLC0415 - 16 MB, where people sign in

    return OidcIssuer(settings.oidc_issuer, settings.oidc_audience, log)


def _claim_rules(settings: AuthSettings) -> ClaimRules:
    return ClaimRules(
        organization_claim=settings.oidc_organization_claim,
        scopes_claim=settings.oidc_scopes_claim,
        scopes={value: Scope(scope) for value, scope in settings.oidc_scopes.items()},
        skew_s=settings.oidc_clock_skew_seconds,
    )


async def run(service: AuthService, settings: AuthSettings, log: FilteringBoundLogger, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then closes the database.

    Raises:
        OSError: the address cannot be listened on, or others could and need not prove who they are.
    """
    served = asyncio.Event()
    with (
        closing(service.store),
        closing(service.audit_log),
        closing(Tracing("auth", settings.otlp_endpoint, settings.trace_ratio)) as tracing,
    ):
        await service.watch.start()
        watching = asyncio.create_task(service.watch.run(stop))
        # Without the watch revocations would go unheard, so the service ends with it, whatever ended it.
        watching.add_done_callback(lambda _: stop.set())
        checkpointing = asyncio.create_task(service.checkpointer.run(served))
        checkpointing.add_done_callback(lambda _: stop.set())
        try:
            await serve(
                settings.grpc_address,
                [lambda server: add_AuthServiceServicer_to_server(service.servicer, server)],
                stop=stop,
                grace_s=settings.shutdown_grace_seconds,
                tracing=tracing,
                log=log,
                identity=identity_of(settings),
                health_address=settings.health_address,
            )
        finally:
            stop.set()
            await watching
            served.set()
            await checkpointing
            if service.issuer is not None:
                await service.issuer.close()


__all__ = ["SCHEMA", "AuthService", "build", "copy_to_postgresql", "database", "run"]
