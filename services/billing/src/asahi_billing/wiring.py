"""Builds the billing service's objects: the only place that knows where the ledger is kept."""

import asyncio
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2_grpc import add_BillingServiceServicer_to_server
from asahi_billing import upkeep
from asahi_billing.api.servicer import BillingServicer
from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.spending import Spending
from asahi_billing.metrics import BillingCollector, commit_seconds
from asahi_billing.settings import BillingSettings
from asahi_billing.stores.opening import SCHEMA, open_engines
from asahi_billing.stores.sql import SqlStore
from asahi_core.clock import Clock
from asahi_core.prices import load_price_book
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.server import serve
from asahi_core.sql.databases import Database, database_at
from asahi_core.telemetry import Tracing


@dataclass(frozen=True, slots=True)
class BillingService:
    """The service's objects, put together."""

    servicer: BillingServicer
    collector: BillingCollector
    store: SqlStore
    spending: Spending


def build(settings: BillingSettings, clock: Clock, log: FilteringBoundLogger) -> BillingService:
    """The service as `settings` say, on a database that is made or brought up to date first.

    Raises:
        OSError: the database cannot be used.
    """
    commits = commit_seconds()
    store = SqlStore(
        open_engines(database(settings), settings.billing_read_seconds, migrate_first=settings.migrate_at_start),
        clock,
        log,
        queue_records=settings.billing_queue_records,
        read_limit_s=settings.billing_read_seconds,
        observe_commit_s=commits.observe,
    )
    ledger = Ledger(store, load_price_book())
    spending = Spending(store, clock)
    collector = BillingCollector(ledger, spending, store, commits)
    return BillingService(BillingServicer(ledger, spending), collector, store, spending)


def database(settings: BillingSettings) -> Database:
    """Where the ledger is kept; raises OSError as `database_at` does."""
    return database_at(settings.database_url.get_secret_value(), settings.data_dir / "billing.db")


async def run(
    service: BillingService, settings: BillingSettings, log: FilteringBoundLogger, stop: asyncio.Event
) -> None:
    """Serves until `stop` is set, then writes what still waits.

    Raises:
        OSError: the address cannot be listened on.
    """
    tracing = Tracing("billing", settings.otlp_endpoint, settings.trace_ratio)
    service.store.open()
    tasks = [
        asyncio.create_task(upkeep.sweep(service.spending, settings.billing_sweep_seconds, log)),
        asyncio.create_task(upkeep.check(service.spending, settings.billing_check_seconds, log)),
    ]
    try:
        await serve(
            settings.grpc_address,
            [lambda server: add_BillingServiceServicer_to_server(service.servicer, server)],
            stop=stop,
            grace_s=settings.shutdown_grace_seconds,
            tracing=tracing,
            log=log,
            identity=identity_of(settings),
            health_address=settings.health_address,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await service.store.close()
        tracing.close()


__all__ = ["SCHEMA", "BillingService", "build", "database", "run"]
