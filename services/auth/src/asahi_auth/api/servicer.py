"""`asahi.auth.v1.AuthService`: from messages to the domain and back."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1 import auth_pb2_grpc
from asahi_auth.api.audit_methods import AuditMethods
from asahi_auth.api.messages import (
    actor_of,
    invite_of,
    message_of,
    news_of,
    organization_of,
    policy_of,
    settings_of,
    uses_of,
    verdict_of,
    wanted_of,
)
from asahi_auth.api.people_methods import PeopleMethods
from asahi_auth.domain.administration import Administration
from asahi_auth.domain.audit_trail import AuditTrail
from asahi_auth.domain.authentication import Authentication
from asahi_auth.domain.governance import DEFAULT_OVERLAP, Governance, SignupRequest
from asahi_auth.domain.people import People
from asahi_auth.domain.policies import Policies
from asahi_auth.domain.watch import VerdictWatch
from asahi_core.keys import KeyDigest
from asahi_core.times import length_of, moment_of

_Context = grpc.aio.ServicerContext[Any, Any]


class AuthServicer(AuditMethods, PeopleMethods, auth_pb2_grpc.AuthServiceServicer):
    """Serves authentication, governance and the watch of verdicts."""

    def __init__(
        self,
        *,
        authentication: Authentication,
        governance: Governance,
        administration: Administration,
        policies: Policies,
        watch: VerdictWatch,
        people: People,
        audit: AuditTrail,
    ) -> None:
        self._authentication = authentication
        self._governance = governance
        self._administration = administration
        self._policies = policies
        self._watch = watch
        self._people = people
        self._audit = audit

    async def Authenticate(self, request: pb.AuthenticateRequest, context: _Context) -> pb.AuthenticateResponse:
        digest = KeyDigest(request.key_prefix, request.key_sha256)
        return pb.AuthenticateResponse(verdict=verdict_of(await self._authentication.authenticate(digest)))

    async def Signup(self, request: pb.SignupRequest, context: _Context) -> pb.SignupResponse:
        organization, issued = await self._governance.signup(
            SignupRequest(
                request.organization_name, request.user_id, request.email, request.invite_code, request.address
            )
        )
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
        return pb.ListApiKeysResponse(api_keys=[message_of(key) for key in page.items], next_page_token=page.next_token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: _Context) -> pb.RevokeApiKeyResponse:
        key = await self._governance.revoke_key(actor_of(request.actor), request.organization_id, request.api_key_id)
        return pb.RevokeApiKeyResponse(api_key=message_of(key))

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: _Context) -> pb.RotateApiKeyResponse:
        overlap = length_of(request.overlap, "overlap") if request.HasField("overlap") else DEFAULT_OVERLAP
        issued, replaced = await self._governance.rotate_key(
            actor_of(request.actor), request.organization_id, request.api_key_id, overlap
        )
        return pb.RotateApiKeyResponse(
            api_key=message_of(issued.key), secret=issued.secret, replaced=message_of(replaced)
        )

    async def RecordKeyUse(self, request: pb.RecordKeyUseRequest, context: _Context) -> pb.RecordKeyUseResponse:
        await self._governance.record_key_use(uses_of(request.uses))
        return pb.RecordKeyUseResponse()

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, context: _Context
    ) -> pb.CreateOrganizationResponse:
        made = await self._administration.create_organization(actor_of(request.actor), request.name)
        return pb.CreateOrganizationResponse(organization=organization_of(made))

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: _Context
    ) -> pb.ListOrganizationsResponse:
        page = await self._administration.list_organizations(
            actor_of(request.actor), request.page_size, request.page_token
        )
        organizations = [organization_of(one) for one in page.items]
        return pb.ListOrganizationsResponse(organizations=organizations, next_page_token=page.next_token)

    async def SetOrganizationSuspended(
        self, request: pb.SetOrganizationSuspendedRequest, context: _Context
    ) -> pb.SetOrganizationSuspendedResponse:
        organization = await self._administration.set_suspended(
            actor_of(request.actor), request.organization_id, suspended=request.suspended
        )
        return pb.SetOrganizationSuspendedResponse(organization=organization_of(organization))

    async def DeleteOrganization(
        self, request: pb.DeleteOrganizationRequest, context: _Context
    ) -> pb.DeleteOrganizationResponse:
        organization, erased = await self._administration.delete_organization(
            actor_of(request.actor), request.organization_id
        )
        return pb.DeleteOrganizationResponse(organization=organization_of(organization), erased=erased)

    async def CreateInvite(self, request: pb.CreateInviteRequest, context: _Context) -> pb.CreateInviteResponse:
        expires_at = moment_of(request.expires_at, "expires_at") if request.HasField("expires_at") else None
        invite, code = await self._administration.create_invite(actor_of(request.actor), request.note, expires_at)
        return pb.CreateInviteResponse(invite=invite_of(invite), code=code)

    async def ListInvites(self, request: pb.ListInvitesRequest, context: _Context) -> pb.ListInvitesResponse:
        page = await self._administration.list_invites(actor_of(request.actor), request.page_size, request.page_token)
        return pb.ListInvitesResponse(invites=[invite_of(one) for one in page.items], next_page_token=page.next_token)

    async def DeleteInvite(self, request: pb.DeleteInviteRequest, context: _Context) -> pb.DeleteInviteResponse:
        invite = await self._administration.delete_invite(actor_of(request.actor), request.invite_id)
        return pb.DeleteInviteResponse(invite=invite_of(invite))

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: _Context) -> pb.GetPolicyResponse:
        return pb.GetPolicyResponse(policy=policy_of(await self._policies.get(request.organization_id)))

    async def UpdatePolicy(self, request: pb.UpdatePolicyRequest, context: _Context) -> pb.UpdatePolicyResponse:
        policy = await self._policies.update(
            actor_of(request.actor),
            request.organization_id,
            settings_of(request.changes),
            request.expected_version if request.HasField("expected_version") else None,
        )
        return pb.UpdatePolicyResponse(policy=policy_of(policy))

    async def ListPolicyVersions(
        self, request: pb.ListPolicyVersionsRequest, context: _Context
    ) -> pb.ListPolicyVersionsResponse:
        versions, more = await self._policies.history(request.organization_id, request.page_size, request.page_token)
        return pb.ListPolicyVersionsResponse(versions=[policy_of(one) for one in versions], next_page_token=more)

    async def EraseUser(self, request: pb.EraseUserRequest, context: _Context) -> pb.EraseUserResponse:
        erased = await self._governance.erase_user(actor_of(request.actor), request.organization_id, request.user_id)
        return pb.EraseUserResponse(erased=erased)

    async def Watch(self, request: pb.WatchRequest, context: _Context) -> AsyncIterator[pb.WatchResponse]:
        async with aclosing(self._watch.news()) as news:
            async for one in news:
                yield news_of(one)
