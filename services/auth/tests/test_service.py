"""The service over real gRPC, as other services call it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi_auth.domain.policy import effective
from asahi_core.clock import SystemClock
from asahi_core.context import CallContext, current_call
from asahi_core.errors import (
    DeadlineExceeded,
    InsufficientScope,
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    OrganizationMismatch,
    ServiceUnavailable,
)
from asahi_core.rpc.channel import ServiceChannel
from services.auth.tests.running import (
    GUARD_S,
    OPERATOR,
    SERVICE,
    RunningAuth,
    acting,
    authenticate_request,
    running,
)


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[RunningAuth]:
    async with running(tmp_path) as service:
        yield service


async def test_a_new_organization_authenticates_with_its_first_key(auth: RunningAuth) -> None:
    made = await auth.signup("Acme", "ada")
    assert made.organization_name == "Acme"
    assert made.secret.startswith(f"ask_{made.api_key.id.removeprefix('key_')}_")
    assert await auth.authenticate(made.secret) == pb.Verdict(
        organization_id=made.organization_id,
        api_key_id=made.api_key.id,
        scopes=[pb.Scope.SCOPE_ALL],
        user_id="ada",
        policy=effective({}),
        principal_id=made.api_key.id,
    )


async def test_a_key_says_all_that_was_asked_for(auth: RunningAuth) -> None:
    first = (await auth.signup()).api_key
    request = pb.CreateApiKeyRequest(
        actor=acting(first),
        organization_id=first.organization_id,
        name="CI",
        scopes=[pb.Scope.SCOPE_INFER, pb.Scope.SCOPE_ANALYTICS, pb.Scope.SCOPE_INFER],
        user_id="robot",
        allowed_models=["gpt-6-*"],
    )
    request.expires_at.FromDatetime(SystemClock().now() + timedelta(days=1))
    made = await auth.stub.CreateApiKey(request)
    assert made.api_key == pb.ApiKey(
        id=made.api_key.id,
        name="CI",
        organization_id=first.organization_id,
        user_id="robot",
        scopes=[pb.Scope.SCOPE_INFER, pb.Scope.SCOPE_ANALYTICS],
        allowed_models=["gpt-6-*"],
        created_at=made.api_key.created_at,
        expires_at=request.expires_at,
    )
    verdict = await auth.authenticate(made.secret)
    assert verdict.scopes == [pb.Scope.SCOPE_INFER, pb.Scope.SCOPE_ANALYTICS]
    assert verdict.allowed_models == ["gpt-6-*"]
    assert (verdict.user_id, verdict.expires_at) == ("robot", request.expires_at)


async def test_a_revoked_key_is_refused_at_once_and_still_listed(auth: RunningAuth) -> None:
    first = (await auth.signup()).api_key
    made = await auth.create(first)
    revoked = await auth.revoke(acting(first), made.api_key)
    assert revoked.HasField("revoked_at")
    with pytest.raises(InvalidApiKey):
        await auth.authenticate(made.secret)
    listed = await auth.stub.ListApiKeys(pb.ListApiKeysRequest(organization_id=first.organization_id))
    assert list(listed.api_keys) == [revoked, first]
    assert await auth.revoke(OPERATOR, made.api_key) == revoked


async def test_pages_are_followed_by_their_tokens(auth: RunningAuth) -> None:
    first = (await auth.signup()).api_key
    for number in range(4):
        await auth.create(first, f"key {number}")
    names: list[list[str]] = []
    token = ""
    while not names or token:
        page = await auth.stub.ListApiKeys(
            pb.ListApiKeysRequest(organization_id=first.organization_id, page_size=2, page_token=token)
        )
        names.append([key.name for key in page.api_keys])
        token = page.next_page_token
    assert names == [["key 3", "key 2"], ["key 1", "key 0"], ["first key"]]


async def test_errors_arrive_as_they_were_raised(auth: RunningAuth) -> None:
    first = (await auth.signup()).api_key
    other = (await auth.signup()).api_key
    with pytest.raises(InvalidRequest, match="organization_name is empty") as caught:
        await auth.signup(name="")
    assert caught.value.param == "organization_name"
    with pytest.raises(NotFound):
        await auth.revoke(acting(first), pb.ApiKey(id=other.id, organization_id=first.organization_id))
    with pytest.raises(OrganizationMismatch):
        await auth.revoke(acting(first), other)
    plain = (await auth.create(first)).api_key
    with pytest.raises(InsufficientScope):
        await auth.create(plain, scope=pb.Scope.SCOPE_ALL)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        (pb.CreateApiKeyRequest(actor=pb.Actor()), "actor"),
        (pb.CreateApiKeyRequest(scopes=[pb.Scope.SCOPE_UNSPECIFIED]), "scopes"),
        (pb.CreateApiKeyRequest(scopes=[99]), "scopes"),  # type: ignore[list-item]  # what a newer caller may send
        (pb.CreateApiKeyRequest(expires_at=Timestamp(seconds=2**60)), "expires_at"),
        (pb.CreateApiKeyRequest(expires_at=Timestamp(seconds=1)), "expires_at"),
    ],
)
async def test_messages_that_mean_nothing_are_told_by_field(
    auth: RunningAuth, change: pb.CreateApiKeyRequest, param: str
) -> None:
    first = (await auth.signup()).api_key
    request = pb.CreateApiKeyRequest(
        actor=acting(first), organization_id=first.organization_id, name="k", scopes=[pb.Scope.SCOPE_INFER]
    )
    if param == "actor":
        request.ClearField("actor")
    request.MergeFrom(change)
    with pytest.raises(InvalidRequest) as caught:
        await auth.stub.CreateApiKey(request)
    assert caught.value.param == param


async def test_signing_up_is_closed_unless_opened(tmp_path: Path) -> None:
    async with running(tmp_path, signup="closed") as auth:
        with pytest.raises(InsufficientScope, match="closed"):
            await auth.signup()


async def test_keys_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as auth:
        secret = (await auth.signup()).secret
    async with running(tmp_path) as auth:
        assert (await auth.authenticate(secret)).scopes == [pb.Scope.SCOPE_ALL]


async def test_a_call_whose_time_ran_out_ends_with_its_deadline(auth: RunningAuth) -> None:
    secret = (await auth.signup()).secret
    spent = current_call.set(CallContext(deadline=0.0))
    with pytest.raises(DeadlineExceeded):
        await auth.authenticate(secret)
    current_call.reset(spent)
    await auth.authenticate(secret)


async def test_a_service_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    async with running(tmp_path) as auth:
        address, secret = auth.address, (await auth.signup()).secret
    async with ServiceChannel("auth", address, SERVICE, timeout_s=GUARD_S) as channel:
        with pytest.raises(ServiceUnavailable, match="auth service does not answer"):
            await AuthServiceStub(channel).Authenticate(authenticate_request(secret))


async def test_health_is_served_beside(auth: RunningAuth) -> None:
    async with grpc.aio.insecure_channel(auth.address) as channel:
        asked = health_pb2.HealthCheckRequest(service="asahi.auth.v1.AuthService")
        check: Any = health_pb2_grpc.HealthStub(channel)
        answer = await check.Check(asked)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
