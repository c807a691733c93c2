"""The auth service: verdicts for the request path, organisations and keys for governance."""

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi_core.keys import KeyDigest
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]


class AuthClient:
    """Calls the auth service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = AuthServiceStub(channel)

    async def authenticate(self, key: KeyDigest) -> pb.Verdict:
        """Whose key it is and what it may do; raises InvalidApiKey."""
        request = pb.AuthenticateRequest(key_prefix=key.prefix, key_sha256=key.sha256)
        return (await self._stub.Authenticate(request)).verdict

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
