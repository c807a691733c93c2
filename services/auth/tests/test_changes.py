"""Every change is told to the audit chain in its own transaction: both happen, or neither does."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from asahi_auth.domain.administration import Administration
from asahi_auth.domain.changes import Change
from asahi_auth.domain.governance import Governance, SignupRequest
from asahi_auth.domain.organizations import ActingKey, ActingOperator
from asahi_auth.domain.policies import Policies
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.wanted import Wanted
from asahi_auth.stores.opening import SCHEMA
from asahi_auth.stores.sql import SqlStore
from asahi_auth.stores.transaction import Append
from asahi_core.clock import ManualClock
from asahi_core.context import CallContext, current_call
from asahi_core.errors import OrganizationMismatch
from asahi_core.ids import SystemIds
from asahi_core.sql.databases import database_at
from asahi_core.sql.schema import open_migrated

OPERATOR = ActingOperator("192.0.2.1")


class Installation:
    """The parts that change things, on one store."""

    def __init__(self, store: SqlStore) -> None:
        clock, ids = ManualClock(), SystemIds()
        self.store = store
        self.governance = Governance(store, clock, ids, signup="invite", revoked=lambda: None)
        self.administration = Administration(store, clock, ids, lambda: None)
        self.policies = Policies(store, clock, lambda: None)


@contextmanager
def installation(tmp_path: Path, database: str, append: Append) -> Iterator[Installation]:
    engine = open_migrated(database_at(database, tmp_path / "auth.db"), SCHEMA, connections=3)
    with closing(SqlStore(engine, readers=1, writers=2, append=append)) as store:
        yield Installation(store)


async def test_every_change_says_who_did_what_to_whom_and_where_they_called_from(tmp_path: Path, database: str) -> None:
    told: list[Change] = []
    call = current_call.set(CallContext(request_id="a request"))
    with installation(tmp_path, database, lambda _, change: told.append(change)) as it:
        invite, code = await it.administration.create_invite(OPERATOR, "for Ada", None)
        unused, _ = await it.administration.create_invite(OPERATOR, "", None)
        await it.administration.delete_invite(OPERATOR, unused.id)
        organization, first = await it.governance.signup(SignupRequest("Acme", "ada", "", code, "198.51.100.7"))
        admin = ActingKey(first.key.id, "203.0.113.9")
        made = (await it.governance.create_key(admin, Wanted(organization.id, "k", (Scope.INFER,), "bob"))).key
        rotated, _ = await it.governance.rotate_key(admin, organization.id, made.id, timedelta())
        for _ in range(2):
            await it.governance.revoke_key(admin, organization.id, rotated.key.id)
            await it.policies.update(admin, organization.id, {"timezone": "Asia/Tokyo"}, None)
            await it.administration.set_suspended(OPERATOR, organization.id, suspended=True)
            await it.administration.set_suspended(OPERATOR, organization.id, suspended=False)
        await it.governance.erase_user(admin, organization.id, "bob")
        other = await it.administration.create_organization(OPERATOR, "Other")
        for _ in range(2):
            await it.administration.delete_organization(OPERATOR, organization.id)
    current_call.reset(call)
    operator, signup = ("operator", "192.0.2.1"), ("signup", "198.51.100.7")
    key = (first.key.id, "203.0.113.9")
    suspensions = [
        (organization.id, operator, f"organization.{action}", organization.id) for action in ("suspend", "resume")
    ]
    assert [(one.organization_id, (one.origin.actor, one.origin.address), one.action, one.target) for one in told] == [
        ("", operator, "invite.create", invite.id),
        ("", operator, "invite.create", unused.id),
        ("", operator, "invite.delete", unused.id),
        (organization.id, signup, "organization.create", organization.id),
        (organization.id, signup, "api_key.create", first.key.id),
        ("", signup, "invite.use", invite.id),
        (organization.id, key, "api_key.create", made.id),
        (organization.id, key, "api_key.rotate", made.id),
        (organization.id, key, "api_key.revoke", rotated.key.id),
        (organization.id, key, "policy.update", organization.id),
        *suspensions,
        *suspensions,
        (organization.id, key, "user.erase", ""),
        (other.id, operator, "organization.create", other.id),
        (organization.id, operator, "organization.delete", organization.id),
    ]
    assert {one.request_id for one in told} == {"a request"}
    assert [one.user_id for one in told if one.user_id] == ["bob"]
    assert not any(name in str(one.details) for one in told for name in ("ada", "bob", code, first.secret))


async def test_what_cannot_be_told_does_not_happen(tmp_path: Path, database: str) -> None:
    def refuse(_connection: Connection, _change: Change) -> None:
        raise LookupError("the chain is broken")

    with installation(tmp_path, database, refuse) as it:
        with pytest.raises(LookupError, match="the chain is broken"):
            await it.administration.create_organization(OPERATOR, "Acme")
        assert await it.store.organizations_after(None, 1) == []


async def test_what_does_not_happen_is_not_told(tmp_path: Path, database: str) -> None:
    told: list[Change] = []
    with installation(tmp_path, database, lambda _, change: told.append(change)) as it:
        change = it.policies.update(OPERATOR, "org_unknown", {"timezone": "Asia/Tokyo"}, None)
        with pytest.raises(OrganizationMismatch):
            await change
    assert told == []
