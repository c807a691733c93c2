"""Alerts of budgets: once per threshold and window, kept until they are delivered, signed, retried."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from asahi.billing.v1.alerts_pb2 import BudgetAlert, GetAlertsResponse
from asahi.billing.v1.billing_pb2 import SpendingPlan
from asahi.type.v1.policy_pb2 import Budget, BudgetWindow
from asahi_billing.domain.alert_targets import RefusedTarget
from asahi_billing.domain.book import Balance
from asahi_billing.domain.plans import ERASED, AccountKey
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest
from asahi_core.money import dollars

SIGNATURE = "x-asahi-signature"
_MILLION = 1_000_000
_NANOS = 1_000_000_000
_AT_ONCE = 20
_LEASE_NS = 60 * _NANOS
_FIRST_PAUSE_NS = 5 * _NANOS
_LONGEST_PAUSE_NS = 3600 * _NANOS
_MOST_ATTEMPTS = 30
"""More than a day of hourly tries."""
_LATE_NS = 10 * _NANOS
_MOST_ACCOUNTS = 1000
_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is kept. `body` is what is posted."""

    id: str
    organization_id: str
    url: str
    body: bytes
    attempts: int
    next_at_ns: int


class AlertStore(Protocol):
    """Keeps alerts and secrets. Raises ServiceUnavailable when it cannot be reached."""

    async def organizations(self) -> Sequence[str]:
        """All organisations that have a plan."""
        ...

    async def raise_once(self, alerts: Sequence[Alert], now_ns: int) -> int:
        """Keeps the alerts that were never raised, by id; how many."""
        ...

    async def claim(self, now_ns: int, until_ns: int, limit: int) -> Sequence[Alert]:
        """Alerts that are due; nobody else gets them before `until_ns`."""
        ...

    async def delivered(self, alert: Alert, now_ns: int) -> None:
        """Notes that it has been taken."""
        ...

    async def failed(self, alert: Alert, error: str, next_at_ns: int | None) -> None:
        """Notes a failure, and when to try again; None: never."""
        ...

    async def newest(self, organization_id: str, limit: int) -> Sequence[BudgetAlert]:
        """The organisation's newest alerts."""
        ...

    async def secret(self, organization_id: str) -> str:
        """What the organisation's alerts are signed with; made when first asked for."""
        ...


class Standing(Protocol):
    """How budgets stand."""

    def take_touched(self) -> set[str]:
        """Organisations whose accounts have changed since the last call."""
        ...

    async def standing(
        self, organization_id: str, now_ns: int, limit: int
    ) -> tuple[list[SpendingPlan], dict[AccountKey, Balance]]:
        """The organisation's plans, and its accounts whose window holds an instant."""
        ...


class Webhook(Protocol):
    """Posts alerts."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer, of which nothing else is looked at.

        Raises:
            RefusedTarget: it must not go there.
            OSError: there was no answer.
        """
        ...


class Alerts:
    """Raises alerts where a budget has passed a threshold, and delivers them."""

    def __init__(self, store: AlertStore, standing: Standing, webhook: Webhook, clock: Clock) -> None:
        self._store = store
        self._standing = standing
        self._webhook = webhook
        self._clock = clock
        self._looked_at_all = False
        self._waiting: set[str] = set()
        """Organisations to look at."""
        self.posts = {"delivered": 0, "failed": 0, "given_up": 0}
        """Tries by what came of them; those given up are tried no more."""

    async def raise_due(self) -> int:
        """Raises what is due in organisations that have spent something, at first in all; how many alerts."""
        self._waiting |= self._standing.take_touched()
        if not self._looked_at_all:
            self._waiting |= set(await self._store.organizations())
            self._looked_at_all = True
        now_ns, raised = self._now_ns(), 0
        for organization_id in sorted(self._waiting):
            found: dict[str, Alert] = {}
            for at_ns in (now_ns - _LATE_NS, now_ns):  # what was spent at the very end of a window counts, too
                plans, balances = await self._standing.standing(organization_id, at_ns, _MOST_ACCOUNTS)
                found |= {alert.id: alert for alert in due_alerts(plans, balances, now_ns)}
            raised += await self._store.raise_once(list(found.values()), now_ns) if found else 0
            self._waiting.discard(organization_id)
        return raised

    async def deliver_due(self) -> int:
        """Tries what is due once; how many were delivered."""
        now_ns, delivered = self._now_ns(), 0
        for alert in await self._store.claim(now_ns, now_ns + _LEASE_NS, _AT_ONCE):
            delivered += await self._deliver(alert)
        return delivered

    async def of(self, organization_id: str) -> GetAlertsResponse:
        """What the organisation's alerts are signed with, and its newest ones.

        Raises:
            InvalidRequest: no organisation.
        """
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        alerts = await self._store.newest(organization_id, _MOST_SHOWN)
        return GetAlertsResponse(signing_secret=await self._store.secret(organization_id), alerts=alerts)

    async def _deliver(self, alert: Alert) -> bool:
        secret = await self._store.secret(alert.organization_id)
        headers = {
            "content-type": "application/json",
            "user-agent": "asahi-alerts",
            SIGNATURE: signature(secret, int(self._clock.now().timestamp()), alert.body),
        }
        try:
            status = await self._webhook.post(alert.url, alert.body, headers)
        except RefusedTarget as error:
            self.posts["given_up"] += 1
            await self._store.failed(alert, f"refused: {error}", None)
            return False
        except OSError as error:
            await self._again(alert, str(error) or type(error).__name__)
            return False
        if 200 <= status < 300:
            await self._store.delivered(alert, self._now_ns())
            self.posts["delivered"] += 1
            return True
        await self._again(alert, f"it was answered with status {status}")
        return False

    async def _again(self, alert: Alert, error: str) -> None:
        pause_ns = min(_FIRST_PAUSE_NS * 2**alert.attempts, _LONGEST_PAUSE_NS)
        last = alert.attempts + 1 >= _MOST_ATTEMPTS
        self.posts["given_up" if last else "failed"] += 1
        await self._store.failed(alert, error[:200], None if last else self._now_ns() + pause_ns)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * _NANOS)


def signature(secret: str, at_s: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA-256 over the seconds, a full stop and the body."""
    digest = hmac.new(secret.encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def due_alerts(plans: Iterable[SpendingPlan], balances: Mapping[AccountKey, Balance], now_ns: int) -> Iterator[Alert]:
    """An alert for every threshold that an account has reached; the same id for the same threshold and window."""
    for plan in plans:
        if not plan.webhook_url:
            continue
        for budget in plan.budgets:
            timezone = budget.timezone or plan.timezone or "UTC"
            kind = (plan.api_key_id, budget.per, int(budget.window), timezone)
            for key, balance in balances.items():
                if (key.api_key_id, key.per, key.window, key.timezone) != kind or key.subject.startswith(ERASED):
                    continue
                for share in sorted(set(budget.alert_at)):
                    parts = round(share * _MILLION)
                    if balance.spent_nanos * _MILLION >= parts * budget.limit_nanos:
                        yield _alert(plan.webhook_url, budget, key, balance.spent_nanos, parts=parts, now_ns=now_ns)


def _alert(url: str, budget: Budget, key: AccountKey, spent_nanos: int, *, parts: int, now_ns: int) -> Alert:
    alert_id = f"alert_{key.id}_{parts}"
    body = {
        "id": alert_id,
        "type": "budget.threshold",
        "organization_id": key.organization_id,
        "created_at": _time(now_ns),
        "budget": {
            "per": budget.per,
            "subject": key.subject,
            "api_key_id": key.api_key_id or None,
            "window": BudgetWindow.Name(budget.window).removeprefix("BUDGET_WINDOW_").lower(),
            "window_start": _time(key.span.start_ns),
            "window_end": _time(key.span.end_ns),
            "limit_usd": dollars(budget.limit_nanos),
        },
        "threshold": parts / _MILLION,
        "spent_usd": dollars(spent_nanos),
    }
    return Alert(alert_id, key.organization_id, url, json.dumps(body).encode(), 0, now_ns)


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // _NANOS, UTC).isoformat().replace("+00:00", "Z")
