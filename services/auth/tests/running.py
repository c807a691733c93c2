"""The auth service on loopback for tests: the real server, the real database, a channel to call it."""

import asyncio
import io
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi_auth import wiring
from asahi_auth.settings import AuthSettings
from asahi_core.clock import Clock, SystemClock
from asahi_core.ids import SystemIds
from asahi_core.keys import digest_key
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]
OPERATOR = pb.Actor(operator=pb.Operator())
GUARD_S = 120.0


@dataclass(frozen=True)
class RunningAuth:
    stub: AuthServiceStub
    address: str
    stop: asyncio.Event

    async def signup(self, name: str = "Acme", user_id: str = "ada") -> pb.SignupResponse:
        return await self.stub.Signup(pb.SignupRequest(organization_name=name, user_id=user_id))

    async def authenticate(self, secret: str) -> pb.Verdict:
        return (await self.stub.Authenticate(authenticate_request(secret))).verdict

    async def create(
        self, maker: pb.ApiKey, name: str = "another", scope: pb.Scope.ValueType = pb.Scope.SCOPE_INFER
    ) -> pb.CreateApiKeyResponse:
        return await self.stub.CreateApiKey(
            pb.CreateApiKeyRequest(
                actor=acting(maker), organization_id=maker.organization_id, name=name, scopes=[scope]
            )
        )

    async def revoke(self, actor: pb.Actor, key: pb.ApiKey) -> pb.ApiKey:
        request = pb.RevokeApiKeyRequest(actor=actor, organization_id=key.organization_id, api_key_id=key.id)
        return (await self.stub.RevokeApiKey(request)).api_key


def acting(key: pb.ApiKey) -> pb.Actor:
    return pb.Actor(api_key_id=key.id)


def authenticate_request(secret: str) -> pb.AuthenticateRequest:
    digest = digest_key(secret)
    assert digest is not None
    return pb.AuthenticateRequest(key_prefix=digest.prefix, key_sha256=digest.sha256)


@asynccontextmanager
async def running(data_dir: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[RunningAuth]:
    """A service of its own on a free port; several may share one folder, as replicas share a database."""
    chosen = AuthSettings(
        data_dir=data_dir, **({"signup": "open", "grpc_address": "127.0.0.1:0", "audit_key": "k" * 32} | settings)
    )
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    log = _log_that_tells(address)
    service = wiring.build(chosen, clock or SystemClock(), SystemIds(), log)
    stop = asyncio.Event()
    serving = asyncio.create_task(wiring.run(service, chosen, log, stop))
    try:
        async with asyncio.timeout(GUARD_S):
            target = await address
        async with ServiceChannel("auth", target, SERVICE, timeout_s=GUARD_S) as channel:
            yield RunningAuth(AuthServiceStub(channel), target, stop)
    finally:
        stop.set()
        await serving


def quiet_log() -> FilteringBoundLogger:
    return _log_that_tells(None)


def _log_that_tells(address: "asyncio.Future[str] | None") -> FilteringBoundLogger:
    """A log whose line `serving` sets `address`; all else goes nowhere."""

    def read(_logger: object, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "serving" and address is not None:
            address.set_result(event["address"])
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger("debug")
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()), processors=[read], wrapper_class=wrapper
    )
    return logger
