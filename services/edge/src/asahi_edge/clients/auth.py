"""The auth service: verdicts for the request path, organisations and keys for governance."""

import asyncio
from contextlib import aclosing
from typing import Any

from structlog.typing import FilteringBoundLogger

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi_core.errors import AsahiError
from asahi_core.keys import KeyDigest
from asahi_core.rpc.channel import ServiceChannel
from asahi_edge.domain.verdicts import Verdicts

SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]
_PAUSE_S = 0.1
_AUTHENTICATE_S = 2.0
"""After so long auth counts as out of reach: callers with a key in its grace time should not wait longer."""
_NO_LIMIT_S = 30 * 24 * 3600.0


class AuthClient:
    """Calls the auth service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = AuthServiceStub(channel)

    async def authenticate(self, key: KeyDigest) -> pb.Verdict:
        """Whose key it is and what it may do; raises InvalidApiKey."""
        request = pb.AuthenticateRequest(key_prefix=key.prefix, key_sha256=key.sha256)
        return (await self._stub.Authenticate(request, timeout=_AUTHENTICATE_S)).verdict

    async def signup(self, request: pb.SignupRequest) -> pb.SignupResponse:
        """A new organisation with its first key."""
        return await self._stub.Signup(request)

    async def create_api_key(self, request: pb.CreateApiKeyRequest) -> pb.CreateApiKeyResponse:
        """A new key."""
        return await self._stub.CreateApiKey(request)

    async def list_api_keys(self, request: pb.ListApiKeysRequest) -> pb.ListApiKeysResponse:
        """A page of an organisation's keys."""
        return await self._stub.ListApiKeys(request)

    async def revoke_api_key(self, request: pb.RevokeApiKeyRequest) -> pb.RevokeApiKeyResponse:
        """The revoked key."""
        return await self._stub.RevokeApiKey(request)


async def watch_verdicts(channel: ServiceChannel, verdicts: Verdicts, log: FilteringBoundLogger) -> None:
    """Drops verdicts as the auth service says that they hold no longer, until cancelled.

    What is missed while the watch is down holds as long as a verdict is fresh, no longer.
    """
    stub = AuthServiceStub(channel)
    while True:
        try:
            events: Any = stub.Watch(pb.WatchRequest(), timeout=_NO_LIMIT_S)
            async with aclosing(events):
                async for event in events:
                    match event.WhichOneof("event"):
                        case "api_key_id":
                            verdicts.forget(event.api_key_id)
                        case "organization_id":
                            verdicts.forget_organization(event.organization_id)
        except AsahiError as error:
            log.debug("auth_watch_broken", error=error.message)
        await asyncio.sleep(_PAUSE_S)
