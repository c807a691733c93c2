"""Builds the billing service's objects: the only place that knows where the ledger is kept."""

import asyncio
from dataclasses import dataclass
from secrets import token_urlsafe

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.alerts_pb2_grpc import add_AlertServiceServicer_to_server
from asahi.billing.v1.analytics_pb2_grpc import add_AnalyticsServiceServicer_to_server
from asahi.billing.v1.billing_pb2_grpc import add_BillingServiceServicer_to_server
from asahi.billing.v1.prices_pb2_grpc import add_PriceServiceServicer_to_server
from asahi.billing.v1.reconciliation_pb2_grpc import add_ReconciliationServiceServicer_to_server
from asahi_billing import upkeep
from asahi_billing.api.alert_servicer import AlertServicer
from asahi_billing.api.analytics_servicer import AnalyticsServicer
from asahi_billing.api.price_servicer import PriceServicer
from asahi_billing.api.reconciliation_servicer import ReconciliationServicer
from asahi_billing.api.servicer import BillingServicer
from asahi_billing.clients.webhooks import WebhookClient
from asahi_billing.domain.alert_targets import rules_of
from asahi_billing.domain.alerts import Alerts
from asahi_billing.domain.analytics import Analytics
from asahi_billing.domain.cost_reports.reconciliation import ReportDesk
from asahi_billing.domain.identities import Identities
from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.price_sheets import PriceSheets
from asahi_billing.domain.repricing import Repricing
from asahi_billing.domain.retention import Retention
from asahi_billing.domain.spending import Spending
from asahi_billing.metrics import BillingCollector, commit_seconds
from asahi_billing.settings import BillingSettings
from asahi_billing.stores.alerts import SqlAlerts
from asahi_billing.stores.analytics import SqlAnalytics
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.identities import SqlIdentities
from asahi_billing.stores.opening import SCHEMA, open_engines
from asahi_billing.stores.price_sheets import SqlPriceSheets
from asahi_billing.stores.reports import SqlReports
from asahi_billing.stores.retention import SqlRetention
from asahi_billing.stores.sql import SqlStore
from asahi_core.clock import Clock
from asahi_core.ids import SystemIds
from asahi_core.prices import OrganizationPrices, load_price_book
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.server import serve
from asahi_core.sql.databases import Database, database_at
from asahi_core.telemetry import Tracing


@dataclass(frozen=True, slots=True)
class BillingService:
    """The service's objects, put together."""

    servicer: BillingServicer
    analytics: AnalyticsServicer
    collector: BillingCollector
    store: SqlStore
    spending: Spending
    reconciliation: ReconciliationServicer
    prices: PriceServicer
    sheets: PriceSheets
    desk: Desk
    alerts: Alerts
    retention: Retention


def build(settings: BillingSettings, clock: Clock, log: FilteringBoundLogger) -> BillingService:
    """The service as `settings` say, on a database that is made or brought up to date first.

    Raises:
        OSError: the database cannot be used.
    """
    commits, kept_in = commit_seconds(), database(settings)
    store = SqlStore(
        open_engines(kept_in, settings.billing_read_seconds, migrate_first=settings.migrate_at_start),
        clock,
        log,
        queue_records=settings.billing_queue_records,
        read_limit_s=settings.billing_read_seconds,
        observe_commit_s=commits.observe,
    )
    prices = OrganizationPrices(load_price_book())
    ledger = Ledger(store, prices)
    spending = Spending(store, clock)
    analytics = AnalyticsServicer(Analytics(SqlAnalytics(store), spending, prices, clock))
    desk = Desk(kept_in, clock, log, read_limit_s=settings.billing_read_seconds)
    alerts = Alerts(
        SqlAlerts(desk, lambda: f"whsec_{token_urlsafe(32)}"),
        store,
        WebhookClient(rules_of(settings.alert_targets)),
        clock,
    )
    reports = ReportDesk(SqlReports(desk), prices.of, clock)
    sheets = PriceSheets(SqlPriceSheets(desk), prices, clock)
    return BillingService(
        servicer=BillingServicer(ledger, spending, Identities(SqlIdentities(desk))),
        collector=BillingCollector(ledger, spending, store, commits, alerts.posts),
        store=store,
        spending=spending,
        analytics=analytics,
        reconciliation=ReconciliationServicer(reports),
        prices=PriceServicer(sheets, Repricing(store, prices, clock, SystemIds())),
        sheets=sheets,
        desk=desk,
        alerts=alerts,
        retention=Retention(SqlRetention(desk), clock),
    )


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
        asyncio.create_task(upkeep.follow_prices(service.sheets, log)),
        asyncio.create_task(upkeep.alert(service.alerts, log)),
        asyncio.create_task(upkeep.drop_old(service.retention, log)),
        asyncio.create_task(upkeep.check(service.spending, settings.billing_check_seconds, log)),
    ]
    try:
        await serve(
            settings.grpc_address,
            [
                lambda server: add_BillingServiceServicer_to_server(service.servicer, server),
                lambda server: add_AnalyticsServiceServicer_to_server(service.analytics, server),
                lambda server: add_AlertServiceServicer_to_server(AlertServicer(service.alerts), server),
                lambda server: add_PriceServiceServicer_to_server(service.prices, server),
                lambda server: add_ReconciliationServiceServicer_to_server(service.reconciliation, server),
            ],
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
        await service.desk.close()
        await service.store.close()
        tracing.close()


__all__ = ["SCHEMA", "BillingService", "build", "database", "run"]
