"""Which fault has to raise which alerts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.k8s.generate import SERVICES
from tests.k8s.monitored import faults
from tests.k8s.monitored.installation import Monitored
from tests.k8s.monitored.prometheus import Alarm

Fault = Callable[[Monitored], Any]
"""Makes a context manager."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and the alerts that have to fire while it lasts and end after it."""

    what: str
    fault: Fault
    alarms: tuple[Alarm, ...]


def _alarms(name: str, *services: str) -> tuple[Alarm, ...]:
    return tuple(Alarm(name, service) for service in services)


CASES: dict[str, Case] = {
    "certificates": Case(
        "certificates end in six days", faults.certificates_end, _alarms("AsahiCertificateEnds", *SERVICES)
    ),
    "providers": Case(
        "the provider is down",
        faults.providers_down,
        (
            Alarm("AsahiProvidersFail", "router"),
            Alarm("AsahiErrorBudgetBurnsFast", "edge"),
            Alarm("AsahiErrorBudgetBurnsSlowly", "edge"),
        ),
    ),
    "throttled": Case("an edge gets half of a CPU", faults.throttled_edge, _alarms("AsahiOverhead", "edge")),
    "billing": Case(
        "billing is down",
        faults.billing_down_until_the_spool_fills,
        (
            Alarm("AsahiUsageWaits", "edge"),
            Alarm("AsahiSpoolFills", "edge"),
            Alarm("AsahiServiceMissing", "billing"),
        ),
    ),
    "wrong-record": Case(
        "a wrong record in a spool",
        faults.wrong_record_in_a_spool,
        (Alarm("AsahiUsageRefused", "edge"), Alarm("AsahiRecordsRejected", "billing")),
    ),
    "spool-damaged": Case("a spool's disk lost bytes", faults.damaged_spool, _alarms("AsahiSpoolDamaged", "edge")),
    "killed": Case("SIGKILL of an edge with 30 calls", faults.killed_edge, _alarms("AsahiOrphans", "edge")),
    "strange-edge": Case(
        "the edge has certificates of another authority",
        faults.strange_edge,
        (Alarm("AsahiRevocationsUnheard", "auth"), Alarm("AsahiCacheAlone", "cache")),
    ),
    "auth-slow": Case(
        "auth's database is locked",
        lambda monitored: faults.locked_database(monitored, "auth"),
        _alarms("AsahiAuthSlow", "auth"),
    ),
    "ledger-slow": Case(
        "billing's database is locked",
        lambda monitored: faults.locked_database(monitored, "billing"),
        _alarms("AsahiLedgerSlow", "billing"),
    ),
    "ledger-lags": Case("more records than are written", faults.flooded_ledger, _alarms("AsahiLedgerLags", "billing")),
    "ledger-broken": Case(
        "a figure changed in the database", faults.edited_ledger, _alarms("AsahiLedgerBroken", "billing")
    ),
    "answered-twice": Case(
        "a request has two answered records", faults.faulty_edge, _alarms("AsahiAnsweredTwice", "billing")
    ),
    "webhooks": Case("a webhook answers 503", faults.failing_webhook, _alarms("AsahiWebhooksFail", "billing")),
    "redis": Case("Redis is down", faults.redis_down, _alarms("AsahiCacheWithoutRedis", "cache")),
    "crowded": Case(
        "more answers than the cache has room for", faults.crowded_cache, _alarms("AsahiCacheTooSmall", "cache")
    ),
    "similar": Case(
        "callers say that similar answers were wrong",
        faults.wrong_similar_answers,
        _alarms("AsahiTierTwoBound", "cache"),
    ),
    "store-auth": Case(
        "a table is gone from auth's database",
        lambda monitored: faults.broken_store(monitored, "auth", "api_keys"),
        _alarms("AsahiServiceFails", "auth", "edge"),
    ),
    "store-billing": Case(
        "text in the place of numbers in billing's database",
        faults.garbled_ledger,
        _alarms("AsahiServiceFails", "billing"),
    ),
    "store-cache": Case(
        "a table is gone from the cache's database",
        lambda monitored: faults.broken_store(monitored, "cache", "stored_responses"),
        _alarms("AsahiServiceFails", "cache"),
    ),
    "store-router": Case(
        "a table is gone from the router's database",
        lambda monitored: faults.broken_store(monitored, "router", "outcomes"),
        _alarms("AsahiServiceFails", "router"),
    ),
    "missing": Case(
        "edge, auth, cache and router are down",
        lambda monitored: faults.down(monitored, "auth", "cache", "router", "edge"),
        _alarms("AsahiServiceMissing", "auth", "cache", "router", "edge"),
    ),
}
