"""Faults made real, each with the alerts that it has to raise. What is inside `with` is the time of the fault."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import httpx2
import structlog

from asahi.billing.v1 import billing_pb2
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.clock import SystemClock
from asahi_core.errors import AsahiError
from asahi_core.ids import SystemIds
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import ServiceIdentity
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import SpoolOptions
from deploy.k8s.generate import SERVICES
from services.billing.tests.records import call
from tests.k8s.monitored.installation import GRPC, Monitored
from tests.k8s.monitored.prometheus import Alarm

Fault = Callable[[Monitored], Any]
"""Makes a context manager."""
_BILLING = billing_pb2.DESCRIPTOR.services_by_name["BillingService"]
_FLOOD = 16
_DELIVERED_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and the alerts that have to fire while it lasts and end after it."""

    what: str
    fault: Fault
    alarms: tuple[Alarm, ...]


@contextmanager
def down(monitored: Monitored, *services: str) -> Iterator[None]:
    """Services that are not there."""
    for name in services:
        monitored.services[name].stop()
    yield
    for name in services:
        monitored.services[name].start()


@contextmanager
def providers_down(monitored: Monitored) -> Iterator[None]:
    """The provider's process is gone."""
    monitored.simulator_process.stop()
    with _asked(monitored):
        yield
    monitored.simulator_process.start()
    monitored.simulator_process.wait_ready()


@contextmanager
def throttled_edge(monitored: Monitored) -> Iterator[None]:
    """An edge that gets half of a CPU, as one with a limit does: it stands still for 0.3 of every 0.6 s."""
    with _meanwhile(lambda: _halt(monitored, "edge", 0.3)):
        yield
    monitored.services["edge"].signal(SIGCONT)


@contextmanager
def billing_down_until_the_spool_fills(monitored: Monitored) -> Iterator[None]:
    """Usage of many requests waits; the spool may take 1 MiB here."""
    with down(monitored, "billing"), _asked(monitored, tags={f"tag-{number}": "x" * 100 for number in range(8)}):
        yield


@contextmanager
def wrong_record_in_a_spool(monitored: Monitored) -> Iterator[None]:
    """An edge whose spool has a record that another version wrote, and that billing's price book contradicts."""
    edge = monitored.services["edge"]
    edge.stop()
    asyncio.run(_spool(monitored, call(1, cost_nanos=1)))
    edge.start()
    yield


@contextmanager
def damaged_spool(monitored: Monitored) -> Iterator[None]:
    """Records that wait on a disk that has flipped some bytes in their midst."""
    edge = monitored.services["edge"]
    with down(monitored, "billing"):
        with _asked(monitored), monitored.client() as client:
            for number in range(40):
                client.post("/infer", json={"prompt": f"Damaged {number}?"})
        edge.stop(SIGKILL)
        root = edge.mounts["/var/lib/asahi"] / "spool"
        largest = max((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(64)
        largest.write_bytes(content)
        edge.start()
        yield


@contextmanager
def killed_edge(monitored: Monitored) -> Iterator[None]:
    """SIGKILL to an edge with 30 provider calls under way, whose answers nobody will tell it any more."""
    monitored.simulator.rules({"mode": "slow", "match": {}, "params": {"first_token_ms": 60_000}})
    threads = [threading.Thread(target=_ask_in_vain, args=(monitored, f"Killed {n}?")) for n in range(30)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(monitored.simulator.calls()) < len(threads) and time.monotonic() < deadline:
        time.sleep(0.1)
    monitored.services["router"].signal(SIGSTOP)  # else it settles them itself
    monitored.services["edge"].stop(SIGKILL)
    monitored.services["router"].stop(SIGKILL)
    for thread in threads:
        thread.join()
    monitored.simulator.reset()
    monitored.services["router"].start()
    monitored.services["edge"].start()
    yield


@contextmanager
def locked_database(monitored: Monitored, service: str) -> Iterator[None]:
    """A database that is locked by another for 2 s at a time, again and again, while it is written to."""
    write = monitored.signup if service == "auth" else lambda: _record(monitored, [_now(call(1))])
    with _meanwhile(lambda: _lock(monitored, service, 2.0)), _meanwhile(write), _meanwhile(write):
        yield


@contextmanager
def flooded_ledger(monitored: Monitored) -> Iterator[None]:
    """A database that is locked, and more records than it may hold back, from somebody with an edge's certificate."""
    numbers = count(1)
    with _meanwhile(lambda: _lock(monitored, "billing", 4.0)), ExitStack() as stack:
        for _ in range(_FLOOD):
            stack.enter_context(
                _meanwhile(lambda: _record(monitored, [_now(call(next(numbers))) for _ in range(1000)]))
            )
        yield


@contextmanager
def edited_ledger(monitored: Monitored) -> Iterator[None]:
    """Somebody has changed what an hour cost, in the database."""
    _spend(monitored)
    change = (
        "UPDATE usage_rollups SET cost_nanos = cost_nanos {} 1 WHERE rowid = (SELECT min(rowid) FROM usage_rollups)"
    )
    _sql(monitored, "billing", change.format("+"))
    yield
    _sql(monitored, "billing", change.format("-"))


@contextmanager
def faulty_edge(monitored: Monitored) -> Iterator[None]:
    """Two answered records of one request, from an edge that is wrong."""
    twice = [_now(call(7, attempt=attempt)) for attempt in (1, 2)]
    for record in twice:
        record.request_id = twice[0].request_id
    _record(monitored, twice)
    yield


@contextmanager
def failing_webhook(monitored: Monitored) -> Iterator[None]:
    """A receiver that answers 503 to every alert of budgets."""
    with _receiver(monitored.webhooks) as receiver:
        callers = [_spend_beyond_budget(monitored, number) for number in range(4)]
        yield
        receiver.takes = True
        deadline = time.monotonic() + _DELIVERED_WITHIN_S
        while time.monotonic() < deadline and not all(_all_delivered(monitored, headers) for headers in callers):
            time.sleep(1)


@contextmanager
def redis_down(monitored: Monitored) -> Iterator[None]:
    """Redis is gone."""
    monitored.redis.stop()
    yield
    monitored.redis.start()


@contextmanager
def crowded_cache(monitored: Monitored) -> Iterator[None]:
    """Ever new answers, of organisations that each may take half; the cache may take 1 MiB here."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(_asked(monitored, headers=monitored.signup()[1]))
        yield


@contextmanager
def wrong_similar_answers(monitored: Monitored) -> Iterator[None]:
    """Callers say of answers to similar questions that they were wrong."""
    organization, headers = monitored.signup()
    with monitored.client(headers) as client:
        answer = client.post(f"/governance/policies/{organization}", json={"cache": {"false_hit_bound": 0.02}})
        assert answer.status_code == 200, answer.text
        said = 0
        for marks in range(1, 400):
            asked = client.post("/infer", json={"prompt": "What is a kettle" + "?" * marks})
            if asked.headers.get("x-asahi-cache") == "hit; tier=2":
                body = {"request_id": asked.json()["request_id"], "correct_cache_hit": False}
                client.post("/feedback", json=body).raise_for_status()
                said += 1
            elif said >= 2:  # it serves no more
                break
            time.sleep(0.05)
    yield
    monitored.services["cache"].stop()  # another process has not read that organization's evidence
    monitored.services["cache"].start()


@contextmanager
def broken_store(monitored: Monitored, service: str, table: str) -> Iterator[None]:
    """A database that somebody has taken a table out of, and calls that need it."""
    with monitored.client() as client:
        answered = client.post("/infer", json={"prompt": f"What is {table}?"}).json()["request_id"]
    _sql(monitored, service, f"ALTER TABLE {table} RENAME TO gone")
    with _meanwhile(lambda: _need(monitored, service, answered)):
        yield
    _sql(monitored, service, f"ALTER TABLE gone RENAME TO {table}")


@contextmanager
def garbled_ledger(monitored: Monitored) -> Iterator[None]:
    """Somebody has put text where the ledger has numbers, and a caller looks at the records."""
    _spend(monitored)
    _sql(monitored, "billing", "UPDATE usage_records SET latency_ms = 'x' || latency_ms")
    with _meanwhile(lambda: _need(monitored, "billing", "")):
        yield
    _sql(monitored, "billing", "UPDATE usage_records SET latency_ms = substr(latency_ms, 2) WHERE latency_ms LIKE 'x%'")


@contextmanager
def certificates_end(monitored: Monitored) -> Iterator[None]:
    """All services have certificates that end in six days, read without a restart."""
    monitored.new_certificates(days=6)
    with _asked(monitored):
        yield
        monitored.new_certificates(days=90)
        time.sleep(3)


def _alarms(name: str, *services: str) -> tuple[Alarm, ...]:
    return tuple(Alarm(name, service) for service in services)


CASES: dict[str, Case] = {
    "certificates": Case("certificates end in six days", certificates_end, _alarms("AsahiCertificateEnds", *SERVICES)),
    "providers": Case(
        "the provider is down",
        providers_down,
        (
            Alarm("AsahiProvidersFail", "router"),
            Alarm("AsahiErrorBudgetBurnsFast", "edge"),
            Alarm("AsahiErrorBudgetBurnsSlowly", "edge"),
        ),
    ),
    "throttled": Case("an edge gets half of a CPU", throttled_edge, _alarms("AsahiOverhead", "edge")),
    "billing": Case(
        "billing is down",
        billing_down_until_the_spool_fills,
        (
            Alarm("AsahiUsageWaits", "edge"),
            Alarm("AsahiSpoolFills", "edge"),
            Alarm("AsahiServiceMissing", "billing"),
        ),
    ),
    "wrong-record": Case(
        "a wrong record in a spool",
        wrong_record_in_a_spool,
        (Alarm("AsahiUsageRefused", "edge"), Alarm("AsahiRecordsRejected", "billing")),
    ),
    "spool-damaged": Case("a spool's disk lost bytes", damaged_spool, _alarms("AsahiSpoolDamaged", "edge")),
    "killed": Case("SIGKILL of an edge with 30 calls", killed_edge, _alarms("AsahiOrphans", "edge")),
    "edge": Case(
        "the edge is down",
        lambda monitored: down(monitored, "edge"),
        (
            Alarm("AsahiRevocationsUnheard", "auth"),
            Alarm("AsahiCacheAlone", "cache"),
            Alarm("AsahiServiceMissing", "edge"),
        ),
    ),
    "auth-slow": Case(
        "auth's database is locked",
        lambda monitored: locked_database(monitored, "auth"),
        _alarms("AsahiAuthSlow", "auth"),
    ),
    "ledger-slow": Case(
        "billing's database is locked",
        lambda monitored: locked_database(monitored, "billing"),
        _alarms("AsahiLedgerSlow", "billing"),
    ),
    "ledger-lags": Case("more records than are written", flooded_ledger, _alarms("AsahiLedgerLags", "billing")),
    "ledger-broken": Case("a figure changed in the database", edited_ledger, _alarms("AsahiLedgerBroken", "billing")),
    "answered-twice": Case("a request has two answered records", faulty_edge, _alarms("AsahiAnsweredTwice", "billing")),
    "webhooks": Case("a webhook answers 503", failing_webhook, _alarms("AsahiWebhooksFail", "billing")),
    "redis": Case("Redis is down", redis_down, _alarms("AsahiCacheWithoutRedis", "cache")),
    "crowded": Case("more answers than the cache has room for", crowded_cache, _alarms("AsahiCacheTooSmall", "cache")),
    "similar": Case(
        "callers say that similar answers were wrong", wrong_similar_answers, _alarms("AsahiTierTwoBound", "cache")
    ),
    "store-auth": Case(
        "a table is gone from auth's database",
        lambda monitored: broken_store(monitored, "auth", "api_keys"),
        _alarms("AsahiServiceFails", "auth", "edge"),
    ),
    "store-billing": Case(
        "text in the place of numbers in billing's database",
        garbled_ledger,
        _alarms("AsahiServiceFails", "billing"),
    ),
    "store-cache": Case(
        "a table is gone from the cache's database",
        lambda monitored: broken_store(monitored, "cache", "stored_responses"),
        _alarms("AsahiServiceFails", "cache"),
    ),
    "store-router": Case(
        "a table is gone from the router's database",
        lambda monitored: broken_store(monitored, "router", "outcomes"),
        _alarms("AsahiServiceFails", "router"),
    ),
    "missing": Case(
        "auth, cache and router are down",
        lambda monitored: down(monitored, "auth", "cache", "router"),
        _alarms("AsahiServiceMissing", "auth", "cache", "router"),
    ),
}


@contextmanager
def _meanwhile(do: Callable[[], object]) -> Iterator[None]:
    """Does something again and again in a thread of its own; that it fails is the fault's nature."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            with suppress(AsahiError, AssertionError, httpx2.HTTPError, sqlite3.Error, ProcessLookupError):
                do()
            stop.wait(0.05)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _asked(
    monitored: Monitored, *, tags: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Iterator[None]:
    """New questions from four callers with one key, the first organisation's if no `headers` have another."""
    numbers = count()

    def ask() -> None:
        with monitored.client(headers) as client:
            for _ in range(20):
                body: dict[str, Any] = {"prompt": f"Tell me a story, the {next(numbers)}th.", "tags": tags or {}}
                client.post("/infer", json=body)

    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(_meanwhile(ask))
        yield


def _ask_in_vain(monitored: Monitored, prompt: str) -> None:
    with suppress(httpx2.HTTPError), monitored.client() as client:
        client.post("/infer", json={"prompt": prompt})


def _spend_beyond_budget(monitored: Monitored, number: int) -> dict[str, str]:
    """The headers of a new organisation whose budget's alerts are due."""
    organization, headers = monitored.signup()
    budget = {"per": "organization", "window": "day", "limit_usd": 0.0000001, "action": "alert", "alert_at": [0.5, 1]}
    policy = {"alerts": {"webhook_url": f"http://127.0.0.1:{monitored.webhooks}/"}, "budgets": [budget]}
    with monitored.client(headers) as client:
        answer = client.post(f"/governance/policies/{organization}", json=policy)
        assert answer.status_code == 200, answer.text
        client.post("/infer", json={"prompt": f"Beyond the budget {number}?"}).raise_for_status()
    return headers


def _all_delivered(monitored: Monitored, headers: dict[str, str]) -> bool:
    with monitored.client(headers) as client:
        answer = client.get("/governance/alerts")
    if answer.status_code != 200:
        return False
    return {alert["state"] for alert in answer.json()["data"]["alerts"]} == {"delivered"}


def _spend(monitored: Monitored) -> None:
    """Has something in the ledger."""
    with monitored.client() as client:
        client.post("/infer", json={"prompt": "What is a number?"})
        client.get("/analytics/cost-summary")  # waits until billing has the record


def _need(monitored: Monitored, service: str, request_id: str) -> None:
    with monitored.client() as client:
        if service == "auth":
            monitored.signup()
        elif service == "billing":
            client.get("/analytics/recent-inferences?limit=1000")
        elif service == "cache":
            client.get("/v1/responses/resp_none")
        else:
            client.post("/feedback", json={"request_id": request_id, "rating": "up"})


def _halt(monitored: Monitored, service: str, seconds: float) -> None:
    monitored.services[service].signal(SIGSTOP)
    time.sleep(seconds)
    monitored.services[service].signal(SIGCONT)
    time.sleep(seconds)


def _lock(monitored: Monitored, service: str, seconds: float) -> None:
    connection = sqlite3.connect(monitored.database(service), timeout=5, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _sql(monitored: Monitored, service: str, statement: str) -> None:
    connection = sqlite3.connect(monitored.database(service), timeout=10)
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()


def _now(record: billing_pb2.UsageRecord) -> billing_pb2.UsageRecord:
    """With a new request's id."""
    record.request_id = SystemIds().request_id()
    return record


async def _spool(monitored: Monitored, record: billing_pb2.UsageRecord) -> None:
    root = monitored.services["edge"].mounts["/var/lib/asahi"] / "spool"
    async with open_spool(root, SystemClock(), structlog.get_logger(), SpoolOptions()) as spool:
        await spool.durable(spool.append([_now(record)]))


def _record(monitored: Monitored, records: Sequence[billing_pb2.UsageRecord]) -> None:
    """Sends records to billing as an edge does."""

    async def send() -> None:
        identity = ServiceIdentity(monitored.edges_certificate())
        address = monitored.here.address("billing", GRPC["billing"])
        async with ServiceChannel("billing", address, _BILLING, timeout_s=30, identity=identity) as channel:
            await BillingServiceStub(channel).RecordUsage(billing_pb2.RecordUsageRequest(records=records))

    asyncio.run(send())


class _Receiver(ThreadingHTTPServer):
    """Refuses every post until it `takes` them."""

    takes = False


@contextmanager
def _receiver(port: int) -> Iterator[_Receiver]:
    server = _Receiver(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if self.server.takes else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""
