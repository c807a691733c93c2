"""`asahi.auth.v1.AuthService`: from messages to the domain and back."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1 import auth_pb2_grpc
from asahi_auth.api.messages import actor_of, message_of, news_of, verdict_of, wanted_of
from asahi_auth.domain.authentication import Authentication
from asahi_auth.domain.governance import Governance
from asahi_auth.domain.watch import VerdictWatch
from asahi_core.keys import KeyDigest

_Context = grpc.aio.ServicerContext[Any, Any]


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Serves authentication, governance and the watch of verdicts."""

    def __init__(self, authentication: Authentication, governance: Governance, watch: VerdictWatch) -> None:
        self._authentication = authentication
        self._governance = governance
        self._watch = watch

    async def Authenticate(self, request: pb.AuthenticateRequest, context: _Context) -> pb.AuthenticateResponse:
        digest = KeyDigest(request.key_prefix, request.key_sha256)
        return pb.AuthenticateResponse(verdict=verdict_of(await self._authentication.authenticate(digest)))

    async def Signup(self, request: pb.SignupRequest, context: _Context) -> pb.SignupResponse:
        organization, issued = await self._governance.signup(request.organization_name, request.user_id, request.email)
        return pb.SignupResponse(
            organization_id=organization.id,
            organization_name=organization.name,
            api_key=message_of(issued.key),
            secret=issued.secret,
        )

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: _Context) -> pb.CreateApiKeyResponse:
        issued = await self._governance.create_key(actor_of(request.actor), wanted_of(request))
        return pb.CreateApiKeyResponse(api_key=message_of(issued.key), secret=issued.secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: _Context) -> pb.ListApiKeysResponse:
        page = await self._governance.list_keys(request.organization_id, request.page_size, request.page_token)
        return pb.ListApiKeysResponse(api_keys=[message_of(key) for key in page.keys], next_page_token=page.next_token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: _Context) -> pb.RevokeApiKeyResponse:
        key = await self._governance.revoke_key(actor_of(request.actor), request.organization_id, request.api_key_id)
        return pb.RevokeApiKeyResponse(api_key=message_of(key))

    async def Watch(self, request: pb.WatchRequest, context: _Context) -> AsyncIterator[pb.WatchResponse]:
        async with aclosing(self._watch.news()) as news:
            async for one in news:
                yield news_of(one)
