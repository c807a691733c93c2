"""Verdicts on keys: fresh for seconds, stretched only while auth is away, withdrawn at once."""

import asyncio

import pytest

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.policy_pb2 import Policy
from asahi_core.clock import ManualClock
from asahi_core.errors import AsahiError, DeadlineExceeded, InternalError, InvalidApiKey, ServiceUnavailable
from asahi_core.ids import SystemIds
from asahi_core.keys import KeyDigest, digest_key, mint_key
from asahi_edge.domain.verdicts import Verdicts
from services.edge.tests.flying import settle, soon

FRESH_S, GRACE_S = 5.0, 60.0
KEY, OTHER_KEY = (mint_key(SystemIds()) for _ in range(2))
AWAY = ServiceUnavailable("The auth service does not answer.", retry_after_s=1.0)


class _Auth:
    """The auth service: what it says of every key, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: AsahiError | None = None
        self.organization_id = "org-1"
        self.expires_at_s: float | None = None
        self.strict_revocation = False
        self.answering = asyncio.Event()
        self.answering.set()

    async def authenticate_person(self, token: str) -> Verdict:
        return await self._answer(Verdict(organization_id=self.organization_id, principal_id="person:ada"))

    async def authenticate(self, key: KeyDigest) -> Verdict:
        policy = Policy(strict_revocation=self.strict_revocation)
        return await self._answer(Verdict(organization_id=self.organization_id, api_key_id=key.prefix, policy=policy))

    async def _answer(self, verdict: Verdict) -> Verdict:
        self.asked += 1
        failure, verdict = self.failure, self._ending(verdict)
        await self.answering.wait()
        if failure is not None:
            raise failure
        return verdict

    def _ending(self, verdict: Verdict) -> Verdict:
        if self.expires_at_s is not None:
            verdict.expires_at.FromMilliseconds(int(self.expires_at_s * 1000))
        return verdict


class _Edge:
    def __init__(self, *, capacity: int = 10_000) -> None:
        self.auth, self.clock = _Auth(), ManualClock()
        self.verdicts = Verdicts(self.auth, self.clock, fresh_s=FRESH_S, grace_s=GRACE_S, capacity=capacity)

    async def is_let_in(self, key: str = KEY) -> bool:
        try:
            await soon(self.verdicts.verdict(key))
        except InvalidApiKey:
            return False
        return True


def _id_of(key: str) -> str:
    digest = digest_key(key)
    assert digest is not None
    return digest.prefix


async def test_a_verdict_is_asked_for_once_while_it_is_fresh() -> None:
    edge = _Edge()
    for _ in range(3):
        assert (await edge.verdicts.verdict(KEY)).organization_id == "org-1"
    edge.clock.advance(FRESH_S - 0.1)
    await edge.verdicts.verdict(KEY)
    assert edge.auth.asked == 1
    edge.clock.advance(0.1)
    await edge.verdicts.verdict(KEY)
    assert edge.auth.asked == 2


@pytest.mark.parametrize(
    "key",
    ["", "sk-live", KEY[:-1], KEY + "0", KEY[:20] + ("0" if KEY[20] != "0" else "1") + KEY[21:]],
    ids=["empty", "another's", "too short", "too long", "mistyped"],
)
async def test_a_mistyped_key_is_refused_without_a_lookup(key: str) -> None:
    edge = _Edge()
    assert not await edge.is_let_in(key)
    assert edge.auth.asked == 0


async def test_who_asks_at_the_same_time_with_the_same_key_asks_auth_once() -> None:
    edge = _Edge()
    edge.auth.answering.clear()
    asking = [asyncio.create_task(edge.verdicts.verdict(KEY)) for _ in range(10)]
    await settle()
    asking[0].cancel()
    await settle()
    edge.auth.answering.set()
    verdicts = await soon(asyncio.gather(*asking[1:]))
    assert edge.auth.asked == 1
    assert {verdict.organization_id for verdict in verdicts} == {"org-1"}


async def test_a_key_that_auth_refuses_is_refused_and_what_was_kept_of_it_is_dropped() -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    edge.clock.advance(FRESH_S)
    edge.auth.failure = InvalidApiKey("The key was revoked.")
    assert not await edge.is_let_in()
    edge.clock.advance(FRESH_S)
    edge.auth.failure = AWAY
    with pytest.raises(ServiceUnavailable):
        await edge.verdicts.verdict(KEY)


@pytest.mark.parametrize("failure", [AWAY, DeadlineExceeded("Auth did not answer in time.")])
async def test_while_auth_is_away_known_keys_go_on_for_the_grace_time_and_unknown_ones_wait(
    failure: AsahiError,
) -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    edge.auth.failure = failure
    edge.clock.advance(GRACE_S - 0.1)
    assert await edge.is_let_in()
    with pytest.raises(ServiceUnavailable) as caught:
        await edge.verdicts.verdict(OTHER_KEY)
    assert caught.value.retry_after_s == 1.0
    edge.clock.advance(0.1)
    with pytest.raises(ServiceUnavailable):
        await edge.verdicts.verdict(KEY)


async def test_where_the_policy_asks_for_strict_revocation_nothing_is_stretched() -> None:
    edge = _Edge()
    edge.auth.strict_revocation = True
    assert await edge.is_let_in()
    edge.auth.failure = AWAY
    edge.clock.advance(FRESH_S - 0.1)
    assert await edge.is_let_in()
    edge.clock.advance(0.1)
    with pytest.raises(ServiceUnavailable):
        await edge.verdicts.verdict(KEY)
    assert not edge.verdicts.any_in_grace()


async def test_while_auth_is_away_requests_in_grace_wait_for_it_at_most_once_a_second() -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    edge.auth.failure = AWAY
    edge.clock.advance(FRESH_S)
    for _ in range(5):
        assert await edge.is_let_in()
    assert edge.auth.asked == 2
    edge.clock.advance(1.0)
    edge.auth.failure = None
    edge.auth.organization_id = "org-2"
    assert (await edge.verdicts.verdict(KEY)).organization_id == "org-2"


async def test_what_broke_inside_auth_is_told_and_nothing_is_stretched_for_it() -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    edge.clock.advance(FRESH_S)
    edge.auth.failure = InternalError("The auth service failed.")
    with pytest.raises(InternalError):
        await edge.verdicts.verdict(KEY)


async def test_a_forgotten_key_is_asked_for_again_and_others_are_not() -> None:
    edge = _Edge()
    assert await edge.is_let_in(KEY)
    assert await edge.is_let_in(OTHER_KEY)
    edge.verdicts.forget(_id_of(KEY))
    edge.auth.failure = InvalidApiKey("The key was revoked.")
    assert not await edge.is_let_in(KEY)
    assert await edge.is_let_in(OTHER_KEY)
    edge.verdicts.forget_organization("org-1")
    assert not await edge.is_let_in(OTHER_KEY)


async def test_a_forgotten_key_has_no_grace() -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    edge.verdicts.forget(_id_of(KEY))
    edge.auth.failure = AWAY
    with pytest.raises(ServiceUnavailable):
        await edge.verdicts.verdict(KEY)


@pytest.mark.parametrize("by_organization", [False, True])
async def test_a_verdict_that_crossed_a_revocation_serves_who_asked_before_and_nobody_after(
    *, by_organization: bool
) -> None:
    edge = _Edge()
    edge.auth.answering.clear()
    before = asyncio.create_task(edge.verdicts.verdict(KEY))
    await settle()
    if by_organization:
        edge.verdicts.forget_organization("org-1")
    else:
        edge.verdicts.forget(_id_of(KEY))
    edge.auth.failure = InvalidApiKey("The key was revoked.")
    during = asyncio.create_task(edge.is_let_in())
    await settle()
    edge.auth.answering.set()
    assert (await soon(before)).organization_id == "org-1"
    assert not await soon(during), "a caller who came after the revocation got the verdict from before it"
    assert not await edge.is_let_in()
    edge.clock.advance(FRESH_S)
    edge.auth.failure = AWAY
    with pytest.raises(ServiceUnavailable):
        await edge.verdicts.verdict(KEY)


async def test_a_key_expires_while_its_verdict_is_fresh() -> None:
    edge = _Edge()
    edge.auth.expires_at_s = edge.clock.now().timestamp() + 2
    assert await edge.is_let_in()
    edge.clock.advance(1.999)
    assert await edge.is_let_in()
    edge.clock.advance(0.001)
    assert not await edge.is_let_in()


async def test_verdicts_are_kept_of_so_many_keys_and_no_more() -> None:
    edge = _Edge(capacity=2)
    keys = [mint_key(SystemIds()) for _ in range(3)]
    for key in keys:
        await edge.verdicts.verdict(key)
    await edge.verdicts.verdict(keys[2])
    await edge.verdicts.verdict(keys[1])
    assert edge.auth.asked == 3
    await edge.verdicts.verdict(keys[0])
    assert edge.auth.asked == 4
