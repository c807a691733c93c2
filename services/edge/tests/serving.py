"""The edge's HTTP application on a real port, in front of a scripted pipeline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, cast

import httpx2
import structlog
import uvicorn
from structlog.testing import capture_logs

from asahi.auth.v1.auth_pb2 import (
    RevokeApiKeyRequest,
    RevokeApiKeyResponse,
    Scope,
    SignupRequest,
    SignupResponse,
    Verdict,
)
from asahi.router.v1.router_pb2 import ListModelsResponse
from asahi_core.clock import SystemClock
from asahi_core.errors import AsahiError
from asahi_core.ids import SystemIds
from asahi_core.keys import KeyDigest, mint_key
from asahi_core.telemetry import Tracing
from asahi_edge.api.app import ROUTERS, build_app
from asahi_edge.api.direct_routes import directly
from asahi_edge.api.door import Door
from asahi_edge.api.protocol import protocol_with
from asahi_edge.api.scope import RequestScope
from asahi_edge.api.services import EdgeServices
from asahi_edge.domain.address_limits import AddressLimit
from asahi_edge.domain.admission import Admission
from asahi_edge.domain.body_budget import BodyBudget
from asahi_edge.domain.governance_ports import Analytics, BudgetAlerts, Governance, Ledger, PriceSheets, Reconciliations
from asahi_edge.domain.health import HealthCheck
from asahi_edge.domain.limited_pipeline import LimitedPipeline
from asahi_edge.domain.limits import Limiter
from asahi_edge.domain.ports import Outcomes
from asahi_edge.domain.quotes import Quotes
from asahi_edge.domain.replays import Replays
from asahi_edge.domain.verdicts import Verdicts
from asahi_edge.stores.limits_memory import MemoryLimits
from services.edge.tests.flying import GUARD_S, Rig, flying, until, verdict
from services.edge.tests.replay_keeper import MemoryReplays
from services.edge.tests.response_keeper import MemoryResponses

MAX_BODY_BYTES = 1024 * 1024
ALL_BODIES_BYTES = 2 * MAX_BODY_BYTES
SIGNUPS, UNKNOWN_KEYS = 3, 3
"""Most of them a minute from one address."""


class _Auth:
    """Knows every well-formed key."""

    def __init__(self) -> None:
        self.says = verdict()
        self.says_of_people = Verdict(organization_id="org-1", principal_id="person:ada", user_id="ada")
        self.tokens: list[str] = []
        self.refuses: AsahiError | None = None

    async def authenticate(self, key: KeyDigest) -> Verdict:
        if self.refuses is not None:
            raise self.refuses
        return self.says

    async def authenticate_person(self, token: str) -> Verdict:
        if self.refuses is not None:
            raise self.refuses
        self.tokens.append(token)
        return self.says_of_people


class _Governance:
    """Lets everybody sign up, and revokes every key."""

    def __init__(self) -> None:
        self.revocations: list[RevokeApiKeyRequest] = []

    async def revoke_api_key(self, request: RevokeApiKeyRequest) -> RevokeApiKeyResponse:
        self.revocations.append(request)
        return RevokeApiKeyResponse()

    async def signup(self, request: SignupRequest) -> SignupResponse:
        return SignupResponse(organization_id="org-new", organization_name=request.organization_name, secret="ask_x")


class _Others:
    """The services that inference does not ask."""

    def __init__(self) -> None:
        self.serve = True

    async def list_models(self) -> ListModelsResponse:
        return ListModelsResponse()

    async def serving(self, service: str) -> bool:
        return self.serve


@dataclass(frozen=True)
class Served:
    """An edge over HTTP."""

    rig: Rig
    url: str
    auth: _Auth
    others: _Others
    health: HealthCheck
    """Which has not begun: see `HealthCheck.start`."""
    governance: _Governance
    client: httpx2.AsyncClient
    """Sends a key with every request."""
    kept: MemoryResponses
    logged: list[Any]
    """What the access log says."""
    admission: Admission
    bodies: BodyBudget

    async def ask(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            named.setdefault("content-type", "application/json")
            return await self.client.post(path, content=body, headers=named)
        return await self.client.post(path, json=body, headers=named)


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # the test's are its own
        return nullcontext()


@asynccontextmanager
async def serving(
    limiter: Limiter | None = None, most: int = 1000, *, connection_s: float = 0.0
) -> AsyncIterator[Served]:
    """The edge while the block runs, with at most so many requests under way.

    Its limits are counted in memory unless a limiter is given. `connection_s`: age at which connections end; 0: never.
    """
    async with flying() as rig:
        auth, others, nobody, clock = _Auth(), _Others(), object(), SystemClock()
        admission, bodies = Admission(most), BodyBudget(ALL_BODIES_BYTES)
        verdicts = Verdicts(
            auth, clock, fresh_s=5.0, grace_s=60.0, unknown_keys=AddressLimit("unknown keys", UNKNOWN_KEYS, clock)
        )
        governance, replays, kept = _Governance(), MemoryReplays(), MemoryResponses()
        health = HealthCheck(others, others, rig.usage)
        services = EdgeServices(
            pipeline=LimitedPipeline(rig.pipeline, rig.embeddings, limiter or MemoryLimits(clock), admission),
            verdicts=verdicts,
            governance=cast(Governance, governance),
            ledger=cast(Ledger, nobody),
            analytics=cast(Analytics, nobody),
            reconciliations=cast(Reconciliations, nobody),
            prices=cast(PriceSheets, nobody),
            alerts=cast(BudgetAlerts, nobody),
            cache=rig.cache,
            catalog=others,
            counter=rig.router,
            outcomes=cast(Outcomes, nobody),
            replays=Replays(replays, structlog.get_logger()),
            responses=kept,
            quotes=Quotes(rig.cache, rig.near, rig.router),
            usage=rig.usage,
            health=health,
            clock=rig.clock,
            signups=AddressLimit("signups", SIGNUPS, clock),
            trusted_proxies=(ip_network("127.0.0.0/8"),),
            admin_secret="",
            max_body_bytes=MAX_BODY_BYTES,
            bodies=bodies,
            started=rig.clock.monotonic(),
        )
        with capture_logs() as logged:
            app = RequestScope(
                directly(build_app(services, asyncio.Event()), ROUTERS),
                ids=SystemIds(),
                tracing=Tracing("edge", "", 0.0),
                log=structlog.get_logger(),
                timeout_s=GUARD_S,
                max_header_bytes=64 * 1024,
            )
            protocol = protocol_with(SystemIds(), Door(admission, verdicts), connection_s)
            config = uvicorn.Config(
                app, host="127.0.0.1", port=0, http=protocol, ws="none", lifespan="off", log_config=None
            )
            server = _Server(config)
            running = asyncio.create_task(server.serve())
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            headers = {"authorization": f"Bearer {mint_key(SystemIds())}"}
            try:
                async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=GUARD_S, verify=False) as client:
                    yield Served(rig, url, auth, others, health, governance, client, kept, logged, admission, bodies)
            finally:
                server.should_exit = True
                await asyncio.wait_for(running, GUARD_S)


def scopes(*names: str) -> list[Scope.ValueType]:
    """Scopes as a key has them."""
    return [Scope.Value(f"SCOPE_{name.upper()}") for name in names]
