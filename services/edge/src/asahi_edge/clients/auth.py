"""The auth service: verdicts for the request path, organisations and keys for governance."""

import asyncio
from collections.abc import Sequence
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
_AUTHENTICATE_PERSON_S = 5.0
"""Longer, since auth may have to ask the issuer for its keys first."""
_NO_LIMIT_S = 30 * 24 * 3600.0
_HEARD_S = 5.0
"""A watch that lasted so long was one."""


class AuthClient:
    """Calls the auth service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = AuthServiceStub(channel)

    async def authenticate(self, key: KeyDigest) -> pb.Verdict:
        """Whose key it is and what it may do; raises InvalidApiKey."""
        request = pb.AuthenticateRequest(key_prefix=key.prefix, key_sha256=key.sha256)
        return (await self._stub.Authenticate(request, timeout=_AUTHENTICATE_S)).verdict

    async def authenticate_person(self, token: str) -> pb.Verdict:
        """Who a bearer token is of and what they may do; raises InvalidApiKey."""
        request = pb.AuthenticatePersonRequest(token=token)
        return (await self._stub.AuthenticatePerson(request, timeout=_AUTHENTICATE_PERSON_S)).verdict

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

    async def rotate_api_key(self, request: pb.RotateApiKeyRequest) -> pb.RotateApiKeyResponse:
        """A key that replaces another, which goes on for an overlap."""
        return await self._stub.RotateApiKey(request)

    async def create_organization(self, request: pb.CreateOrganizationRequest) -> pb.CreateOrganizationResponse:
        """A new organisation without keys."""
        return await self._stub.CreateOrganization(request)

    async def list_organizations(self, request: pb.ListOrganizationsRequest) -> pb.ListOrganizationsResponse:
        """A page of organisations."""
        return await self._stub.ListOrganizations(request)

    async def set_organization_suspended(
        self, request: pb.SetOrganizationSuspendedRequest
    ) -> pb.SetOrganizationSuspendedResponse:
        """The organisation, suspended or not any longer."""
        return await self._stub.SetOrganizationSuspended(request)

    async def delete_organization(self, request: pb.DeleteOrganizationRequest) -> pb.DeleteOrganizationResponse:
        """What was deleted of an organisation."""
        return await self._stub.DeleteOrganization(request)

    async def create_invite(self, request: pb.CreateInviteRequest) -> pb.CreateInviteResponse:
        """A new invite."""
        return await self._stub.CreateInvite(request)

    async def list_invites(self, request: pb.ListInvitesRequest) -> pb.ListInvitesResponse:
        """A page of invites."""
        return await self._stub.ListInvites(request)

    async def delete_invite(self, request: pb.DeleteInviteRequest) -> pb.DeleteInviteResponse:
        """The invite that is withdrawn."""
        return await self._stub.DeleteInvite(request)

    async def get_policy(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        """A policy in its present version."""
        return await self._stub.GetPolicy(request)

    async def update_policy(self, request: pb.UpdatePolicyRequest) -> pb.UpdatePolicyResponse:
        """The changed policy; raises VersionConflict."""
        return await self._stub.UpdatePolicy(request)

    async def list_policy_versions(self, request: pb.ListPolicyVersionsRequest) -> pb.ListPolicyVersionsResponse:
        """A page of a policy's versions."""
        return await self._stub.ListPolicyVersions(request)

    async def begin_act(self, request: pb.BeginActRequest) -> pb.BeginActResponse:
        """Writes to the audit chain that an act on other services begins."""
        return await self._stub.BeginAct(request)

    async def end_act(self, request: pb.EndActRequest) -> pb.EndActResponse:
        """Writes to the audit chain how an act ended."""
        return await self._stub.EndAct(request)

    async def list_audit(self, request: pb.ListAuditRequest) -> pb.ListAuditResponse:
        """A page of an audit chain."""
        return await self._stub.ListAudit(request)

    async def verify_audit(self, request: pb.VerifyAuditRequest) -> pb.VerifyAuditResponse:
        """What a recomputation of an audit chain found."""
        return await self._stub.VerifyAudit(request)

    async def erase_user(self, request: pb.EraseUserRequest) -> pb.EraseUserResponse:
        """What was erased of an end user."""
        return await self._stub.EraseUser(request)

    async def record_key_use(self, uses: Sequence[pb.KeyUse]) -> None:
        """Keeps when keys were used last."""
        await self._stub.RecordKeyUse(pb.RecordKeyUseRequest(uses=uses))

    async def record_refusals(self, refusals: Sequence[pb.RefusedLogins]) -> None:
        """Counts refused logins."""
        await self._stub.RecordRefusals(pb.RecordRefusalsRequest(refusals=refusals))


async def watch_verdicts(channel: ServiceChannel, verdicts: Verdicts, log: FilteringBoundLogger) -> None:
    """Drops verdicts as the auth service says that they hold no longer, until cancelled.

    What is missed while the watch is down holds as long as a verdict is fresh, no longer.
    """
    stub, loop = AuthServiceStub(channel), asyncio.get_running_loop()
    heard = True
    while True:
        begun = loop.time()
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
            if heard or loop.time() - begun >= _HEARD_S:
                log.warning("revocations_unheard", error=error.message)
            heard = False
        await asyncio.sleep(_PAUSE_S)
