"""Builds the billing service's objects: the only place that knows where the ledger is kept."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError
from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2_grpc import add_BillingServiceServicer_to_server
from asahi_billing.api.servicer import BillingServicer
from asahi_billing.domain.ledger import Ledger
from asahi_billing.metrics import BillingCollector, commit_seconds
from asahi_billing.migrations import UnknownSchema, upgrade
from asahi_billing.settings import BillingSettings
from asahi_billing.stores.engine import open_writer
from asahi_billing.stores.sql import SqlUsageStore
from asahi_core.clock import Clock
from asahi_core.prices import load_price_book
from asahi_core.rpc.server import serve
from asahi_core.telemetry import Tracing


@dataclass(frozen=True, slots=True)
class BillingService:
    """The service's objects, put together."""

    servicer: BillingServicer
    collector: BillingCollector
    store: SqlUsageStore


def build(settings: BillingSettings, clock: Clock, log: FilteringBoundLogger) -> BillingService:
    """The service as `settings` say, on a database that is made or brought up to date first.

    Raises:
        OSError: the database cannot be used.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    path = settings.data_dir / "billing.db"
    url = URL.create("sqlite", database=str(path))
    writer = open_writer(url)
    try:
        upgrade(writer)
    except (DatabaseError, UnknownSchema) as error:
        reason = error.orig if isinstance(error, DatabaseError) else error
        raise OSError(f"cannot use the ledger {path}: {reason}; mend it or set another ASAHI_DATA_DIR") from error
    commits = commit_seconds()
    store = SqlUsageStore(
        writer,
        url,
        clock,
        log,
        queue_records=settings.billing_queue_records,
        read_limit_s=settings.billing_read_seconds,
        observe_commit_s=commits.observe,
    )
    ledger = Ledger(store, load_price_book())
    return BillingService(BillingServicer(ledger), BillingCollector(ledger, store, commits), store)


async def run(
    service: BillingService, settings: BillingSettings, log: FilteringBoundLogger, stop: asyncio.Event
) -> None:
    """Serves until `stop` is set, then writes what still waits.

    Raises:
        OSError: the address cannot be listened on.
    """
    tracing = Tracing("billing", settings.otlp_endpoint, settings.trace_ratio)
    service.store.open()
    try:
        await serve(
            settings.grpc_address,
            [lambda server: add_BillingServiceServicer_to_server(service.servicer, server)],
            stop=stop,
            grace_s=settings.shutdown_grace_seconds,
            tracing=tracing,
            log=log,
        )
    finally:
        await service.store.close()
        tracing.close()
