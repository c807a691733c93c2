"""What is done to a service's store or spool past the service, or with an edge's certificate."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence

import structlog

from asahi.billing.v1 import billing_pb2
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.clock import SystemClock
from asahi_core.ids import SystemIds
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import ServiceIdentity
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import SpoolOptions
from tests.k8s.monitored.installation import GRPC, Monitored

_BILLING = billing_pb2.DESCRIPTOR.services_by_name["BillingService"]


def lock(monitored: Monitored, service: str, seconds: float) -> None:
    """Keeps everybody else from writing to a service's database for so long."""
    connection = sqlite3.connect(monitored.database(service), timeout=5, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def change(monitored: Monitored, service: str, statement: str) -> None:
    """Runs a statement on a service's database."""
    connection = sqlite3.connect(monitored.database(service), timeout=10)
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()


def now(record: billing_pb2.UsageRecord) -> billing_pb2.UsageRecord:
    """With a new request's id."""
    record.request_id = SystemIds().request_id()
    return record


async def spool(monitored: Monitored, record: billing_pb2.UsageRecord) -> None:
    """Puts a record into the spool of an edge that does not run."""
    root = monitored.services["edge"].mounts["/var/lib/asahi"] / "spool"
    async with open_spool(root, SystemClock(), structlog.get_logger(), SpoolOptions()) as waiting:
        await waiting.durable(waiting.append([now(record)]))


def record(monitored: Monitored, records: Sequence[billing_pb2.UsageRecord]) -> None:
    """Sends records to billing as an edge does."""

    async def send() -> None:
        identity = ServiceIdentity(monitored.edges_certificate())
        address = monitored.here.address("billing", GRPC["billing"])
        async with ServiceChannel("billing", address, _BILLING, timeout_s=30, identity=identity) as channel:
            await BillingServiceStub(channel).RecordUsage(billing_pb2.RecordUsageRequest(records=records))

    asyncio.run(send())
