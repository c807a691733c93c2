"""What the routes call."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from asahi_core.clock import Clock
from asahi_edge.domain.address_limits import AddressLimit, Network
from asahi_edge.domain.body_budget import BodyBudget
from asahi_edge.domain.governance_ports import Analytics, BudgetAlerts, Governance, Ledger, PriceSheets, Reconciliations
from asahi_edge.domain.health import HealthCheck
from asahi_edge.domain.limited_pipeline import LimitedPipeline
from asahi_edge.domain.ports import AnswerCache, Catalog, Outcomes, TokenCounter
from asahi_edge.domain.quotes import Quotes
from asahi_edge.domain.replays import Replays
from asahi_edge.domain.stored_responses import ResponseStore
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.domain.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """The domain, wired; one for the whole application."""

    pipeline: LimitedPipeline
    verdicts: Verdicts
    governance: Governance
    ledger: Ledger
    analytics: Analytics
    reconciliations: Reconciliations
    prices: PriceSheets
    alerts: BudgetAlerts
    cache: AnswerCache
    catalog: Catalog
    counter: TokenCounter
    outcomes: Outcomes
    quotes: Quotes
    replays: Replays
    responses: ResponseStore
    usage: UsageDelivery
    health: HealthCheck
    clock: Clock
    signups: AddressLimit
    trusted_proxies: tuple[Network, ...]
    """Whose X-Forwarded-For counts."""
    admin_secret: str
    max_body_bytes: int
    bodies: BodyBudget
    started: float
    """`clock.monotonic()` at the start."""

    def __repr__(self) -> str:
        return "EdgeServices()"


def services_of(request: Request) -> EdgeServices:
    """The application's services."""
    return cast(EdgeServices, request.app.state.services)
