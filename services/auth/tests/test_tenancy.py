"""Whatever organisations do, none sees, uses or ends another's keys, and each sees all of its own."""

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi_auth.domain.authentication import Authentication
from asahi_auth.domain.governance import Governance, SignupRequest
from asahi_auth.domain.organizations import ActingKey, ApiKey
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.wanted import Wanted
from asahi_auth.stores.opening import open_store
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidApiKey, NotFound, OrganizationMismatch
from asahi_core.ids import SystemIds
from asahi_core.keys import digest_key

ORGANIZATIONS = 3
ORGANIZATION = st.integers(0, ORGANIZATIONS - 1)
NUMBER = st.integers(0, 50)


@dataclass
class Tenant:
    first: ApiKey
    secrets: dict[str, str]
    """By key id."""
    revoked: set[str] = field(default_factory=set)

    @property
    def actor(self) -> ActingKey:
        return ActingKey(self.first.id)

    def some_key(self, number: int) -> str:
        return list(self.secrets)[number % len(self.secrets)]


@dataclass
class Installation:
    governance: Governance
    authentication: Authentication
    clock: ManualClock
    tenants: list[Tenant] = field(default_factory=list)

    async def sign_up(self) -> None:
        organization, issued = await self.governance.signup(SignupRequest("Acme", "ada", ""))
        self.tenants.append(Tenant(issued.key, {issued.key.id: issued.secret}))
        assert issued.key.organization_id == organization.id

    async def create(self, tenant: Tenant) -> None:
        wanted = Wanted(tenant.first.organization_id, "k", (Scope.INFER,))
        issued = await self.governance.create_key(tenant.actor, wanted)
        tenant.secrets[issued.key.id] = issued.secret

    async def revoke(self, tenant: Tenant, owner: Tenant, key_id: str) -> None:
        """`tenant` revokes a key of `owner`; its first key it keeps, to act with."""
        if tenant is not owner:
            with pytest.raises(NotFound):
                await self.governance.revoke_key(tenant.actor, tenant.first.organization_id, key_id)
            with pytest.raises(OrganizationMismatch):
                await self.governance.revoke_key(tenant.actor, owner.first.organization_id, key_id)
        elif key_id != tenant.first.id:
            await self.governance.revoke_key(tenant.actor, tenant.first.organization_id, key_id)
            tenant.revoked.add(key_id)

    async def check(self, tenant: Tenant) -> None:
        listed = await self.list_all(tenant, "")
        assert {key.id for key in listed} == set(tenant.secrets)
        assert len(listed) == len(tenant.secrets)
        assert {key.organization_id for key in listed} == {tenant.first.organization_id}
        assert {key.id for key in listed if key.revoked_at is not None} == tenant.revoked
        for key_id, secret in tenant.secrets.items():
            digest = digest_key(secret)
            assert digest is not None
            if key_id in tenant.revoked:
                with pytest.raises(InvalidApiKey):
                    await self.authentication.authenticate(digest)
            else:
                key = (await self.authentication.authenticate(digest)).key
                assert (key.id, key.organization_id) == (key_id, tenant.first.organization_id)

    async def list_all(self, tenant: Tenant, token: str) -> list[ApiKey]:
        listed: list[ApiKey] = []
        while True:
            page = await self.governance.list_keys(tenant.first.organization_id, 2, token)
            listed += page.items
            token = page.next_token
            if not token:
                return listed

    async def try_token_of(self, owner: Tenant, tenant: Tenant) -> None:
        """A page token of another's list shows nothing but one's own keys."""
        page = await self.governance.list_keys(owner.first.organization_id, 1, "")
        listed = await self.list_all(tenant, page.next_token)
        assert all(key.organization_id == tenant.first.organization_id for key in listed)


STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "revoke", "token"]), ORGANIZATION, ORGANIZATION, NUMBER), max_size=20
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_organizations_never_meet(steps: list[tuple[str, int, int, int]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(open_store(Path(folder))) as store:
        clock = ManualClock()
        governance = Governance(store, clock, SystemIds(), signup="open", revoked=lambda: None)
        installation = Installation(governance, Authentication(store, clock), clock)
        for _ in range(ORGANIZATIONS):
            await installation.sign_up()
        for step, who, whose, number in steps:
            tenant, owner = installation.tenants[who], installation.tenants[whose]
            clock.advance(number % 2)
            match step:
                case "create":
                    await installation.create(tenant)
                case "revoke":
                    await installation.revoke(tenant, owner, owner.some_key(number))
                case _:
                    await installation.try_token_of(owner, tenant)
        for tenant in installation.tenants:
            await installation.check(tenant)
