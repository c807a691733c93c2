"""Organisations, invites, rotation and limits of keys, over gRPC, on both databases."""

from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from asahi.auth.v1 import auth_pb2 as pb
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, BudgetWindow, RateLimits
from asahi_core.clock import ManualClock
from asahi_core.errors import (
    AsahiError,
    InsufficientScope,
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    OrganizationMismatch,
    OrganizationSuspended,
)
from services.auth.tests.running import OPERATOR, RunningAuth, acting, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def auth(tmp_path: Path, database: str, clock: ManualClock) -> AsyncIterator[RunningAuth]:
    async with running(tmp_path, clock, DATABASE_URL=database) as service:
        yield service


async def refused(error: type[AsahiError], call: Awaitable[Any]) -> AsahiError:
    """The error that the call ends with."""
    with pytest.raises(error) as caught:
        await call
    return caught.value


def person(organization_id: str, *scopes: pb.Scope.ValueType) -> pb.Actor:
    return pb.Actor(person=pb.Person(subject="ada", organization_id=organization_id, scopes=scopes))


async def test_only_the_operator_acts_on_organizations_and_invites(auth: RunningAuth) -> None:
    made = await auth.signup()
    for actor in (acting(made.api_key), person(made.organization_id, pb.Scope.SCOPE_ALL)):
        for call in (
            auth.stub.CreateOrganization(pb.CreateOrganizationRequest(actor=actor, name="x")),
            auth.stub.ListOrganizations(pb.ListOrganizationsRequest(actor=actor)),
            auth.stub.SetOrganizationSuspended(
                pb.SetOrganizationSuspendedRequest(actor=actor, organization_id=made.organization_id, suspended=True)
            ),
            auth.stub.DeleteOrganization(
                pb.DeleteOrganizationRequest(actor=actor, organization_id=made.organization_id)
            ),
            auth.stub.CreateInvite(pb.CreateInviteRequest(actor=actor)),
            auth.stub.ListInvites(pb.ListInvitesRequest(actor=actor)),
            auth.stub.DeleteInvite(pb.DeleteInviteRequest(actor=actor, invite_id="x")),
        ):
            await refused(InsufficientScope, call)
    assert (await auth.authenticate(made.secret)).organization_id == made.organization_id


async def test_organizations_are_listed_newest_first_in_pages(auth: RunningAuth, clock: ManualClock) -> None:
    made = []
    for name in ("a", "b", "c"):
        clock.advance(1)
        answer = await auth.stub.CreateOrganization(pb.CreateOrganizationRequest(actor=OPERATOR, name=name))
        made.append(answer.organization)
    listed: list[pb.Organization] = []
    token = ""
    while True:
        page = await auth.stub.ListOrganizations(
            pb.ListOrganizationsRequest(actor=OPERATOR, page_size=2, page_token=token)
        )
        listed += page.organizations
        token = page.next_page_token
        if not token:
            break
    assert listed == made[::-1]


async def test_a_suspended_organizations_keys_open_nothing_until_it_is_resumed(auth: RunningAuth) -> None:
    made = await auth.signup()
    other = await auth.signup("Other")
    request = pb.SetOrganizationSuspendedRequest(actor=OPERATOR, organization_id=made.organization_id, suspended=True)
    for _ in range(2):
        answer = await auth.stub.SetOrganizationSuspended(request)
        assert answer.organization.HasField("suspended_at")
    await refused(OrganizationSuspended, auth.authenticate(made.secret))
    await refused(OrganizationSuspended, auth.create(made.api_key))
    assert await auth.authenticate(other.secret)
    request.suspended = False
    assert not (await auth.stub.SetOrganizationSuspended(request)).organization.HasField("suspended_at")
    assert await auth.authenticate(made.secret)


async def test_suspension_and_its_end_are_heard_by_watchers(auth: RunningAuth) -> None:
    made = await auth.signup()
    watch: Any = auth.stub.Watch(pb.WatchRequest())
    await anext(aiter(watch))
    request = pb.SetOrganizationSuspendedRequest(actor=OPERATOR, organization_id=made.organization_id, suspended=True)
    await auth.stub.SetOrganizationSuspended(request)
    async for event in watch:
        if event.WhichOneof("event") == "organization_id":
            assert event.organization_id == made.organization_id
            break
    await watch.aclose()


async def test_a_deleted_organization_is_emptied_and_its_keys_open_nothing(auth: RunningAuth) -> None:
    made = await auth.signup("Acme")
    await auth.create(made.api_key)
    policy = pb.UpdatePolicyRequest(actor=OPERATOR, organization_id=made.organization_id)
    policy.changes.update({"timezone": "Asia/Tokyo"})
    await auth.stub.UpdatePolicy(policy)
    request = pb.DeleteOrganizationRequest(actor=OPERATOR, organization_id=made.organization_id)
    deleted = await auth.stub.DeleteOrganization(request)
    assert dict(deleted.erased) == {"keys": 2, "policies": 1, "invites": 0}
    assert (deleted.organization.name, deleted.organization.user_id) == ("", "")
    assert deleted.organization.HasField("deleted_at")
    assert dict((await auth.stub.DeleteOrganization(request)).erased) == {}
    await refused(InvalidApiKey, auth.authenticate(made.secret))
    await refused(OrganizationMismatch, auth.stub.GetPolicy(pb.GetPolicyRequest(organization_id=made.organization_id)))
    await refused(
        OrganizationMismatch,
        auth.stub.CreateApiKey(
            pb.CreateApiKeyRequest(
                actor=OPERATOR, organization_id=made.organization_id, name="x", scopes=[pb.Scope.SCOPE_INFER]
            )
        ),
    )


async def test_an_invite_lets_one_organization_sign_up(tmp_path: Path, database: str, clock: ManualClock) -> None:
    async with running(tmp_path, clock, DATABASE_URL=database, signup="invite") as auth:

        async def invited(code: str) -> pb.SignupResponse:
            request = pb.SignupRequest(organization_name="Acme", user_id="ada", invite_code=code)
            return await auth.stub.Signup(request)

        used, late, withdrawn = [
            await auth.stub.CreateInvite(pb.CreateInviteRequest(actor=OPERATOR, note=note)) for note in ("a", "b", "c")
        ]
        await auth.stub.DeleteInvite(pb.DeleteInviteRequest(actor=OPERATOR, invite_id=withdrawn.invite.id))
        made = await invited(used.code)
        assert await auth.authenticate(made.secret)
        messages = {
            (await refused(InsufficientScope, invited(code))).message
            for code in ("", "inv_unknown", used.code, withdrawn.code)
        }
        clock.advance(7 * 86_400)
        messages.add((await refused(InsufficientScope, invited(late.code))).message)
        assert len(messages) == 1
        listed = (await auth.stub.ListInvites(pb.ListInvitesRequest(actor=OPERATOR))).invites
        assert {invite.id: invite.organization_id for invite in listed} == {
            used.invite.id: made.organization_id,
            late.invite.id: "",
        }
        for invite_id in (used.invite.id, "invite_unknown"):
            request = pb.DeleteInviteRequest(actor=OPERATOR, invite_id=invite_id)
            await refused(NotFound, auth.stub.DeleteInvite(request))


async def test_a_rotated_key_goes_on_for_the_overlap_and_its_line_has_one_principal(
    auth: RunningAuth, clock: ManualClock
) -> None:
    first = await auth.signup()
    request = pb.RotateApiKeyRequest(
        actor=acting(first.api_key), organization_id=first.organization_id, api_key_id=first.api_key.id
    )
    request.overlap.FromTimedelta(timedelta(minutes=5))
    second = await auth.stub.RotateApiKey(request)
    assert (second.replaced.rotated_to, second.api_key.rotated_from) == (second.api_key.id, first.api_key.id)
    verdicts = [await auth.authenticate(secret) for secret in (first.secret, second.secret)]
    assert {verdict.principal_id for verdict in verdicts} == {first.api_key.id}
    assert verdicts[0].expires_at == second.replaced.expires_at
    clock.advance(5 * 60)
    await refused(InvalidApiKey, auth.authenticate(first.secret))
    third = await auth.stub.RotateApiKey(
        pb.RotateApiKeyRequest(
            actor=acting(second.api_key), organization_id=first.organization_id, api_key_id=second.api_key.id
        )
    )
    assert (await auth.authenticate(third.secret)).principal_id == first.api_key.id
    assert third.api_key.scopes == first.api_key.scopes


async def test_only_a_valid_key_is_rotated_once_and_within_thirty_days(auth: RunningAuth) -> None:
    made = await auth.signup()
    admin = acting(made.api_key)
    key = (await auth.create(made.api_key)).api_key
    request = pb.RotateApiKeyRequest(actor=admin, organization_id=made.organization_id, api_key_id=key.id)
    request.overlap.FromTimedelta(timedelta(days=30, seconds=1))
    assert (await refused(InvalidRequest, auth.stub.RotateApiKey(request))).param == "overlap"
    request.overlap.FromTimedelta(timedelta())
    await auth.stub.RotateApiKey(request)
    assert (await refused(InvalidRequest, auth.stub.RotateApiKey(request))).param == "api_key_id"
    request.api_key_id = "key_unknown"
    await refused(NotFound, auth.stub.RotateApiKey(request))


async def test_who_rotates_a_key_gets_none_that_may_more_than_their_own(auth: RunningAuth, clock: ManualClock) -> None:
    made = await auth.signup()

    async def narrow(**narrower: Any) -> pb.Actor:
        request = pb.CreateApiKeyRequest(
            actor=acting(made.api_key),
            organization_id=made.organization_id,
            name="k",
            scopes=[pb.Scope.SCOPE_ADMIN],
            **narrower,
        )
        return acting((await auth.stub.CreateApiKey(request)).api_key)

    tomorrow = Timestamp()
    tomorrow.FromDatetime(clock.now() + timedelta(days=1))
    for narrower in (
        {"allowed_models": ["gpt-*"]},
        {"rate_limits": RateLimits(requests_per_minute=1)},
        {"expires_at": tomorrow},
    ):
        rotate = pb.RotateApiKeyRequest(
            actor=await narrow(**narrower), organization_id=made.organization_id, api_key_id=made.api_key.id
        )
        await refused(InsufficientScope, auth.stub.RotateApiKey(rotate))
        rotate.api_key_id = rotate.actor.api_key_id
        assert (await auth.stub.RotateApiKey(rotate)).api_key.rotated_from == rotate.actor.api_key_id
    assert (await auth.authenticate(made.secret)).api_key_id == made.api_key.id


async def test_a_deleted_organizations_invite_loses_its_note(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, DATABASE_URL=database, signup="invite") as auth:
        code = (await auth.stub.CreateInvite(pb.CreateInviteRequest(actor=OPERATOR, note="for Ada"))).code
        signup = pb.SignupRequest(organization_name="Acme", user_id="ada", invite_code=code)
        made = await auth.stub.Signup(signup)
        delete = pb.DeleteOrganizationRequest(actor=OPERATOR, organization_id=made.organization_id)
        assert (await auth.stub.DeleteOrganization(delete)).erased["invites"] == 1
        (invite,) = (await auth.stub.ListInvites(pb.ListInvitesRequest(actor=OPERATOR))).invites
        assert (invite.note, invite.organization_id) == ("", made.organization_id)


async def test_a_key_gives_no_limit_above_its_own_and_its_own_where_none_is_asked(auth: RunningAuth) -> None:
    made = await auth.signup()

    async def create(actor: pb.Actor, limits: RateLimits | None) -> pb.ApiKey:
        request = pb.CreateApiKeyRequest(
            actor=actor,
            organization_id=made.organization_id,
            name="k",
            scopes=[pb.Scope.SCOPE_ADMIN],
            rate_limits=limits,
        )
        return (await auth.stub.CreateApiKey(request)).api_key

    own = RateLimits(requests_per_minute=60, per_user=RateLimits(tokens_per_minute=1000))
    maker = acting(await create(acting(made.api_key), own))
    assert (await create(maker, None)).rate_limits == own
    narrower = await create(maker, RateLimits(requests_per_minute=30, tokens_per_minute=5))
    assert narrower.rate_limits == RateLimits(
        requests_per_minute=30, tokens_per_minute=5, per_user=RateLimits(tokens_per_minute=1000)
    )
    for wider, param in (
        (RateLimits(requests_per_minute=61), "rate_limits.requests_per_minute"),
        (RateLimits(per_user=RateLimits(tokens_per_minute=1001)), "rate_limits.per_user.tokens_per_minute"),
    ):
        assert (await refused(InsufficientScope, create(maker, wider))).param == param
    nested = RateLimits(per_user=RateLimits(per_user=RateLimits(requests_per_minute=1)))
    assert (await refused(InvalidRequest, create(maker, nested))).param == "rate_limits.per_user.per_user"
    zero = RateLimits(requests_per_minute=0)
    assert (await refused(InvalidRequest, create(maker, zero))).param == "rate_limits.requests_per_minute"


async def test_a_key_gives_no_longer_life_than_its_own(auth: RunningAuth, clock: ManualClock) -> None:
    made = await auth.signup()

    async def create(actor: pb.Actor, days: float | None) -> pb.ApiKey:
        request = pb.CreateApiKeyRequest(
            actor=actor, organization_id=made.organization_id, name="k", scopes=[pb.Scope.SCOPE_ADMIN]
        )
        if days is not None:
            request.expires_at.FromDatetime(clock.now() + timedelta(days=days))
        return (await auth.stub.CreateApiKey(request)).api_key

    short = await create(acting(made.api_key), 1)
    assert (await create(acting(short), None)).expires_at == short.expires_at
    assert (await create(acting(short), 0.5)).expires_at.seconds < short.expires_at.seconds
    assert (await refused(InsufficientScope, create(acting(short), 2))).param == "expires_at"


def _budget(per: str, limit_nanos: int = 5_000_000_000) -> Budget:
    return Budget(
        per=per,
        window=BudgetWindow.BUDGET_WINDOW_DAY,
        limit_nanos=limit_nanos,
        action=BudgetAction.BUDGET_ACTION_BLOCK,
        alert_at=[0.5, 0.8, 1.0],
    )


async def test_a_key_has_its_own_budgets_and_its_makers_and_keeps_them_when_it_is_rotated(auth: RunningAuth) -> None:
    made = await auth.signup()

    def wanted(maker: pb.ApiKey, *budgets: Budget) -> pb.CreateApiKeyRequest:
        scopes = [pb.Scope.SCOPE_ALL]
        return pb.CreateApiKeyRequest(
            actor=acting(maker), organization_id=made.organization_id, name="k", scopes=scopes, budgets=budgets
        )

    maker = (await auth.stub.CreateApiKey(wanted(made.api_key, _budget("key")))).api_key
    key = await auth.stub.CreateApiKey(wanted(maker, _budget("user", 1)))
    assert list(key.api_key.budgets) == [_budget("user", 1), _budget("key")]
    rotation = pb.RotateApiKeyRequest(
        actor=acting(made.api_key), organization_id=made.organization_id, api_key_id=key.api_key.id
    )
    rotated = await auth.stub.RotateApiKey(rotation)
    assert list(rotated.api_key.budgets) == list(key.api_key.budgets)
    assert list((await auth.authenticate(rotated.secret)).budgets) == list(key.api_key.budgets)


async def test_a_keys_budget_that_cannot_be_kept_is_refused_by_its_field(auth: RunningAuth) -> None:
    made = await auth.signup()
    request = pb.CreateApiKeyRequest(
        actor=acting(made.api_key),
        organization_id=made.organization_id,
        name="k",
        scopes=[pb.Scope.SCOPE_INFER],
        budgets=[_budget("everybody")],
    )
    assert (await refused(InvalidRequest, auth.stub.CreateApiKey(request))).param == "budgets[0].per"
    odd = _budget("organization")
    odd.action = 999  # type: ignore[assignment]  # a choice that a newer caller may know
    del request.budgets[:]
    request.budgets.append(odd)
    assert (await refused(InvalidRequest, auth.stub.CreateApiKey(request))).param == "budgets[0].action"


async def test_people_govern_their_own_organization_as_their_scopes_say(auth: RunningAuth) -> None:
    made, other = await auth.signup(), await auth.signup("Other")

    async def create(actor: pb.Actor) -> pb.ApiKey:
        request = pb.CreateApiKeyRequest(
            actor=actor, organization_id=made.organization_id, name="k", scopes=[pb.Scope.SCOPE_INFER]
        )
        return (await auth.stub.CreateApiKey(request)).api_key

    assert (await create(person(made.organization_id, pb.Scope.SCOPE_ADMIN))).name == "k"
    await refused(InsufficientScope, create(person(made.organization_id, pb.Scope.SCOPE_ANALYTICS)))
    await refused(OrganizationMismatch, create(person(other.organization_id, pb.Scope.SCOPE_ALL)))


async def test_the_latest_use_of_a_key_is_kept(auth: RunningAuth, clock: ManualClock) -> None:
    made = await auth.signup()
    now = clock.now()
    for minutes in (5, 3):
        use = pb.KeyUse(api_key_id=made.api_key.id)
        use.used_at.FromDatetime(now + timedelta(minutes=minutes))
        unknown = pb.KeyUse(api_key_id="key_unknown", used_at=use.used_at)
        await auth.stub.RecordKeyUse(pb.RecordKeyUseRequest(uses=[unknown, use]))
    (key,) = (await auth.stub.ListApiKeys(pb.ListApiKeysRequest(organization_id=made.organization_id))).api_keys
    assert key.last_used_at.ToDatetime(now.tzinfo) == now + timedelta(minutes=5)
    for count in (0, 1001):
        uses = [pb.KeyUse(api_key_id=f"key_{number}") for number in range(count)]
        assert (
            await refused(InvalidRequest, auth.stub.RecordKeyUse(pb.RecordKeyUseRequest(uses=uses)))
        ).param == "uses"


async def test_a_person_without_a_subject_is_nobody(auth: RunningAuth) -> None:
    made = await auth.signup()
    nobody = pb.Actor(person=pb.Person(organization_id=made.organization_id, scopes=[pb.Scope.SCOPE_ALL]))
    request = pb.EraseUserRequest(actor=nobody, organization_id=made.organization_id, user_id="ada")
    assert (await refused(InvalidRequest, auth.stub.EraseUser(request))).param == "actor"


async def test_an_erased_user_is_named_nowhere_and_others_are(auth: RunningAuth) -> None:
    made = await auth.signup(user_id="ada")
    request = pb.CreateApiKeyRequest(
        actor=acting(made.api_key), organization_id=made.organization_id, name="k", scopes=[pb.Scope.SCOPE_INFER]
    )
    for user_id in ("ada", "bob"):
        request.user_id = user_id
        await auth.stub.CreateApiKey(request)
    erase = pb.EraseUserRequest(actor=OPERATOR, organization_id=made.organization_id, user_id="ada")
    assert dict((await auth.stub.EraseUser(erase)).erased) == {"organizations": 1, "keys": 2}
    assert dict((await auth.stub.EraseUser(erase)).erased) == {"organizations": 0, "keys": 0}
    keys = (await auth.stub.ListApiKeys(pb.ListApiKeysRequest(organization_id=made.organization_id))).api_keys
    assert sorted(key.user_id for key in keys) == ["", "", "bob"]
    assert (await auth.authenticate(made.secret)).user_id == ""
