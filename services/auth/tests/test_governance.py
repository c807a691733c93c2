"""Who may make, list and revoke which keys."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from asahi_auth.domain.authentication import Authentication
from asahi_auth.domain.governance import Governance, SignupRequest
from asahi_auth.domain.organizations import ActingKey, ActingOperator, Actor, ApiKey, IssuedKey
from asahi_auth.domain.scopes import Scope
from asahi_auth.domain.wanted import Wanted
from asahi_auth.stores.opening import open_store
from asahi_auth.stores.sql import SqlStore
from asahi_core.clock import ManualClock
from asahi_core.errors import (
    AsahiError,
    InsufficientScope,
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    OrganizationMismatch,
)
from asahi_core.ids import SystemIds
from asahi_core.keys import KeyDigest, digest_key

OPERATOR = ActingOperator()


@dataclass
class World:
    store: SqlStore
    clock: ManualClock
    governance: Governance
    authentication: Authentication
    revocations_told: list[None]

    async def organization(self) -> ApiKey:
        """Signs up; the first key."""
        _, issued = await self.governance.signup(SignupRequest("Acme", "ada", "ada@example.com"))
        return issued.key

    async def key(self, actor: Actor, organization_id: str, *scopes: Scope, **fields: object) -> ApiKey:
        wanted = Wanted(organization_id, "a key", scopes or (Scope.INFER,))
        return (await self.governance.create_key(actor, replace(wanted, **fields))).key  # type: ignore[arg-type]  # fields of Wanted

    async def authenticate(self, issued: IssuedKey) -> ApiKey:
        return (await self.authentication.authenticate(digest_of(issued))).key


def digest_of(issued: IssuedKey) -> KeyDigest:
    digest = digest_key(issued.secret)
    assert digest is not None
    return digest


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with contextlib.closing(open_store(tmp_path)) as store:
        clock, told = ManualClock(), list[None]()
        governance = Governance(store, clock, SystemIds(), signup="open", revoked=lambda: told.append(None))
        yield World(store, clock, governance, Authentication(store, clock), told)


async def test_signing_up_gives_a_key_that_opens_everything(world: World) -> None:
    organization, issued = await world.governance.signup(SignupRequest("Acme", "ada", ""))
    key = await world.authenticate(issued)
    assert (key.organization_id, key.user_id, key.scopes) == (organization.id, "ada", (Scope.ALL,))
    assert (key.created_by, key.expires_at, key.allowed_models) == ("signup", None, ())


async def test_names_are_labels_and_not_unique(world: World) -> None:
    one, other = await world.organization(), await world.organization()
    assert one.organization_id != other.organization_id


async def test_where_signing_up_is_closed_nothing_is_made(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path)) as store:
        closed = Governance(store, ManualClock(), SystemIds(), signup="closed", revoked=lambda: None)
        with pytest.raises(InsufficientScope, match="closed on this installation"):
            await closed.signup(SignupRequest("Acme", "ada", ""))


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (("", "ada", ""), "organization_name", "1 to 200"),
        (("  ", "ada", ""), "organization_name", "1 to 200"),
        (("a" * 201, "ada", ""), "organization_name", "has 201 characters; at most 200"),
        (("Acme\0", "ada", ""), "organization_name", r"U\+0000"),
        (("Acme", "", ""), "user_id", "1 to 200"),
        (("Acme", "ada", "a" * 321), "email", "at most 320"),
    ],
)
async def test_what_signing_up_does_not_take_is_named(
    world: World, fields: tuple[str, str, str], param: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        await world.governance.signup(SignupRequest(*fields))
    assert caught.value.param == param


async def test_two_hundred_characters_of_any_script_are_a_name(world: World) -> None:
    organization, _ = await world.governance.signup(SignupRequest("朝日\u3000" + "é" * 197, "ada", ""))
    assert len(organization.name) == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"scopes": ()}, "scopes"),
        ({"user_id": "u" * 201}, "user_id"),
        ({"allowed_models": ("",)}, "allowed_models"),
        ({"allowed_models": ("a",) * 101}, "allowed_models"),
        ({"allowed_models": ("a" * 201,)}, "allowed_models"),
        ({"allowed_models": ("a" * 41,) * 100}, "allowed_models"),
        ({"expires_at": ManualClock().now()}, "expires_at"),
    ],
)
async def test_what_a_new_key_cannot_be_is_named(world: World, fields: dict[str, object], param: str) -> None:
    first = await world.organization()
    with pytest.raises(InvalidRequest) as caught:
        await world.key(ActingKey(first.id), first.organization_id, **fields)
    assert caught.value.param == param


@pytest.mark.parametrize("scope", [Scope.ADMIN, Scope.ALL])
async def test_admin_and_all_are_the_same_and_give_everything(world: World, scope: Scope) -> None:
    first = await world.organization()
    maker = await world.key(ActingKey(first.id), first.organization_id, scope)
    for wanted in Scope:
        made = await world.key(ActingKey(maker.id), first.organization_id, wanted)
        assert (made.scopes, made.created_by) == ((wanted,), maker.id)


@pytest.mark.parametrize("wanted", [Scope.ANALYTICS, Scope.ADMIN, Scope.ALL])
async def test_a_key_gives_no_scope_that_it_lacks(world: World, wanted: Scope) -> None:
    first = await world.organization()
    maker = await world.key(ActingKey(first.id), first.organization_id, Scope.INFER)
    with pytest.raises(InsufficientScope, match="scope 'admin'; the key has 'infer'"):
        await world.key(ActingKey(maker.id), first.organization_id, wanted)


async def test_a_key_that_does_not_govern_makes_and_revokes_none(world: World) -> None:
    first = await world.organization()
    plain = await world.key(ActingKey(first.id), first.organization_id, Scope.INFER, Scope.ANALYTICS)
    with pytest.raises(InsufficientScope, match="scope 'admin'"):
        await world.key(ActingKey(plain.id), first.organization_id, Scope.INFER)
    with pytest.raises(InsufficientScope, match="scope 'admin'"):
        await world.governance.revoke_key(ActingKey(plain.id), first.organization_id, first.id)


async def test_a_key_gives_no_model_that_it_may_not_use(world: World) -> None:
    first = await world.organization()
    maker = await world.key(
        ActingKey(first.id), first.organization_id, Scope.ADMIN, allowed_models=("gpt-6-*", "claude-*")
    )
    narrower = await world.key(ActingKey(maker.id), first.organization_id, allowed_models=("gpt-6-mini",))
    assert narrower.allowed_models == ("gpt-6-mini",)
    as_maker = await world.key(ActingKey(maker.id), first.organization_id)
    assert as_maker.allowed_models == ("gpt-6-*", "claude-*")
    with pytest.raises(InsufficientScope, match=r"'gpt-\*' allows models") as caught:
        await world.key(ActingKey(maker.id), first.organization_id, allowed_models=("claude-*", "gpt-*"))
    assert caught.value.param == "allowed_models"


async def test_the_operator_makes_any_key_of_any_organization(world: World) -> None:
    first = await world.organization()
    made = await world.key(OPERATOR, first.organization_id, Scope.ALL)
    assert (made.created_by, made.allowed_models) == ("operator", ())


async def test_a_foreign_and_an_unknown_organization_are_told_in_the_same_words(world: World) -> None:
    mine, other = await world.organization(), await world.organization()
    refusals: list[AsahiError] = []
    for actor, organization_id in (
        (ActingKey(mine.id), other.organization_id),
        (ActingKey(mine.id), "org_unknown"),
        (OPERATOR, "org_unknown"),
    ):
        with pytest.raises(OrganizationMismatch) as creating:
            await world.key(actor, organization_id)
        with pytest.raises(OrganizationMismatch) as revoking:
            await world.governance.revoke_key(actor, organization_id, other.id)
        refusals += [creating.value, revoking.value]
    with pytest.raises(OrganizationMismatch) as listing:
        await world.governance.list_keys("org_unknown", 0, "")
    refusals.append(listing.value)
    assert len({(error.message, error.param) for error in refusals}) == 1


async def test_a_foreign_and_an_unknown_key_are_told_in_the_same_words(world: World) -> None:
    mine, other = await world.organization(), await world.organization()
    messages = set()
    for key_id in (other.id, "key_00000000", "", "\0"):
        for actor in (ActingKey(mine.id), OPERATOR):
            with pytest.raises(NotFound) as caught:
                await world.governance.revoke_key(actor, mine.organization_id, key_id)
            messages.add(caught.value.message)
    assert len(messages) == 1
    assert world.revocations_told == []


async def test_a_revoked_or_expired_key_acts_no_more(world: World) -> None:
    first = await world.organization()
    revoked = await world.key(ActingKey(first.id), first.organization_id, Scope.ADMIN)
    expiring = await world.key(
        ActingKey(first.id), first.organization_id, Scope.ADMIN, expires_at=world.clock.now() + timedelta(seconds=9)
    )
    await world.governance.revoke_key(OPERATOR, first.organization_id, revoked.id)
    world.clock.advance(9)
    for key_id in (revoked.id, expiring.id, "key_unknown"):
        with pytest.raises(InvalidApiKey):
            await world.key(ActingKey(key_id), first.organization_id)
        with pytest.raises(InvalidApiKey):
            await world.governance.revoke_key(ActingKey(key_id), first.organization_id, first.id)


async def test_a_second_revocation_keeps_the_first_time(world: World) -> None:
    first = await world.organization()
    key = await world.key(ActingKey(first.id), first.organization_id)
    world.clock.advance(5)
    once = await world.governance.revoke_key(ActingKey(first.id), first.organization_id, key.id)
    world.clock.advance(5)
    twice = await world.governance.revoke_key(OPERATOR, first.organization_id, key.id)
    assert once == twice
    assert (once.revoked_at, once.revoked_by) == (ManualClock().now() + timedelta(seconds=5), first.id)
    assert len(await world.store.revocations_after(0, 10)) == 1


async def test_unknown_revoked_expired_and_forged_keys_are_refused_in_the_same_words(world: World) -> None:
    _, issued = await world.governance.signup(SignupRequest("Acme", "ada", ""))
    first = issued.key
    wanted = Wanted(first.organization_id, "short", (Scope.INFER,), expires_at=world.clock.now() + timedelta(seconds=9))
    expired = await world.governance.create_key(ActingKey(first.id), wanted)
    assert (await world.authenticate(expired)).id == expired.key.id
    revoked = await world.governance.create_key(ActingKey(first.id), replace(wanted, expires_at=None))
    await world.governance.revoke_key(OPERATOR, first.organization_id, revoked.key.id)
    world.clock.advance(9)
    refused = [
        digest_of(expired),
        digest_of(revoked),
        KeyDigest("00000000", digest_of(issued).sha256),
        KeyDigest(digest_of(issued).prefix, bytes(32)),
    ]
    messages = set()
    for digest in refused:
        with pytest.raises(InvalidApiKey) as caught:
            await world.authentication.authenticate(digest)
        messages.add(caught.value.message)
    assert len(messages) == 1
    assert (await world.authenticate(issued)).id == first.id


@pytest.mark.parametrize(
    ("digest", "param"),
    [
        (KeyDigest("short", bytes(32)), "key_prefix"),
        (KeyDigest("ÄÄÄÄÄÄÄÄ", bytes(32)), "key_prefix"),
        (KeyDigest("00000000", bytes(31)), "key_sha256"),
    ],
)
async def test_what_is_no_digest_of_a_key_is_told(world: World, digest: KeyDigest, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.authentication.authenticate(digest)
    assert caught.value.param == param


async def test_pages_neither_repeat_nor_miss_keys_while_others_are_added(world: World) -> None:
    first = await world.organization()
    names = [f"key {number}" for number in range(7)]
    for name in names:
        world.clock.advance(1)
        await world.key(ActingKey(first.id), first.organization_id, name=name)
    world.clock.advance(1)
    seen: list[str] = []
    token = ""
    while True:
        page = await world.governance.list_keys(first.organization_id, 3, token)
        seen += [key.name for key in page.items]
        token = page.next_token
        if not token:
            break
        await world.key(ActingKey(first.id), first.organization_id, name="added meanwhile")
    assert seen == [*reversed(names), "first key"]


async def test_a_page_that_is_exactly_full_is_the_last(world: World) -> None:
    first = await world.organization()
    page = await world.governance.list_keys(first.organization_id, 1, "")
    assert [key.id for key in page.items] == [first.id]
    assert page.next_token == ""


@pytest.mark.parametrize("size", [-1, 1001])
async def test_a_page_size_out_of_range_is_told(world: World, size: int) -> None:
    with pytest.raises(InvalidRequest, match=f"page_size is {size}"):
        await world.governance.list_keys("org_unknown", size, "")


@pytest.mark.parametrize("token", ["nonsense", "é", "LjEuLg==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OS5r", "=" * 4])
async def test_a_page_token_that_was_not_given_out_is_told(world: World, token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.governance.list_keys("org_unknown", 0, token)
    assert caught.value.param == "page_token"


def test_no_secret_and_no_hash_shows_in_what_is_printed() -> None:
    key = ApiKey("key_1", b"hash", "sha256", "org", "n", "", (), (), ManualClock().now(), "signup")
    shown = repr(IssuedKey(key, "ask_secret"))
    assert "ask_secret" not in shown
    assert "hash'" not in shown
