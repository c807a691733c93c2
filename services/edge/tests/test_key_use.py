"""What auth is told once a minute, and what it is not asked about."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from asahi.auth.v1.auth_pb2 import KeyUse, RefusedLogins, Verdict
from asahi_core.clock import ManualClock
from asahi_core.errors import AsahiError, InvalidApiKey, RateLimitExceeded, ServiceUnavailable
from asahi_core.ids import SystemIds
from asahi_core.keys import KeyDigest, mint_key
from asahi_edge.domain.address_limits import AddressLimit
from asahi_edge.domain.key_use import KeyUseReport
from asahi_edge.domain.verdicts import Verdicts

ADDRESS = "198.51.100.1"
AWAY = ServiceUnavailable("It does not answer.", retry_after_s=1.0)


class _Auth:
    """Knows no key but `known`; keeps what it is told."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.asked = 0
        self.failure: AsahiError | None = None
        self.uses: list[KeyUse] = []
        self.refusals: list[RefusedLogins] = []

    async def authenticate(self, key: KeyDigest) -> Verdict:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if key.prefix not in self.known:
            raise InvalidApiKey("It is not known.")
        return Verdict(organization_id="org-1", api_key_id=f"key_{key.prefix}")

    async def authenticate_person(self, token: str) -> Verdict:
        self.asked += 1
        raise InvalidApiKey("The token is not valid.")

    async def record_key_use(self, uses: Sequence[KeyUse]) -> None:
        if self.failure is not None:
            raise self.failure
        self.uses += uses

    async def record_refusals(self, refusals: Sequence[RefusedLogins]) -> None:
        if self.failure is not None:
            raise self.failure
        self.refusals += refusals


class _Edge:
    def __init__(self, *, unknown_keys: int = 5, capacity: int = 10_000, hold_back_s: float = 0.0) -> None:
        self.auth, self.clock = _Auth(), ManualClock()
        self.report = KeyUseReport(self.auth, self.clock, structlog.get_logger())
        self.verdicts = Verdicts(
            self.auth,
            self.clock,
            fresh_s=5.0,
            grace_s=60.0,
            capacity=capacity,
            unknown_keys=AddressLimit("unknown keys", unknown_keys, self.clock),
            hold_back_s=hold_back_s,
            report=self.report,
        )

    def known_key(self) -> str:
        key = mint_key(SystemIds())
        self.auth.known.add(key[4:12])
        return key

    async def is_refused(self, key: str, address: str = ADDRESS) -> bool:
        try:
            await self.verdicts.verdict(key, address)
        except InvalidApiKey:
            return True
        return False


def _forged() -> str:
    return mint_key(SystemIds())


async def test_an_unknown_key_is_asked_for_once_while_its_refusal_is_fresh() -> None:
    edge, key = _Edge(), _forged()
    for _ in range(20):
        assert await edge.is_refused(key)
    assert edge.auth.asked == 1
    edge.clock.advance(5.0)
    edge.auth.known.add(key[4:12])
    assert not await edge.is_refused(key)


async def test_an_organization_that_changes_withdraws_refusals() -> None:
    edge, key = _Edge(), _forged()
    assert await edge.is_refused(key)
    edge.auth.known.add(key[4:12])
    edge.verdicts.forget_organization("org-1")
    assert not await edge.is_refused(key)


async def test_forged_keys_of_one_address_ask_auth_so_often_and_known_keys_go_on() -> None:
    edge = _Edge(unknown_keys=5)
    key = edge.known_key()
    assert not await edge.is_refused(key)
    refused = 0
    for _ in range(200):
        try:
            await edge.verdicts.verdict(_forged(), ADDRESS)
        except InvalidApiKey:
            refused += 1
        except RateLimitExceeded:
            continue
    assert refused == 5
    assert edge.auth.asked == 6
    edge.clock.advance(5.0)
    assert not await edge.is_refused(key), "a known key waits for nobody's forged ones, not even to be asked for again"
    assert await edge.is_refused(_forged(), "198.51.100.2")


async def test_who_floods_with_forged_keys_waits_and_nobody_else_does() -> None:
    edge = _Edge(unknown_keys=1, hold_back_s=3600.0)
    key = edge.known_key()
    assert not await edge.is_refused(key)
    assert await edge.is_refused(_forged())
    flood = asyncio.create_task(edge.verdicts.verdict(_forged(), ADDRESS))
    assert not await edge.is_refused(key)
    assert await edge.is_refused(_forged(), "198.51.100.2")
    assert not flood.done()
    flood.cancel()


async def test_keys_that_turn_out_valid_do_not_count_against_their_address() -> None:
    edge = _Edge(unknown_keys=2)
    keys = [edge.known_key() for _ in range(20)]
    for key in keys:
        assert not await edge.is_refused(key)


async def test_refusals_are_kept_of_so_many_keys() -> None:
    edge = _Edge(unknown_keys=100, capacity=3)
    keys = [_forged() for _ in range(5)]
    for key in keys:
        assert await edge.is_refused(key)
    assert await edge.is_refused(keys[-1])
    assert edge.auth.asked == 5
    assert await edge.is_refused(keys[0])
    assert edge.auth.asked == 6


async def test_uses_of_keys_are_reported_together_each_with_its_last() -> None:
    edge = _Edge()
    first, second = edge.known_key(), edge.known_key()
    await edge.verdicts.verdict(first, ADDRESS)
    await edge.verdicts.verdict(second, ADDRESS)
    edge.clock.advance(30)
    await edge.verdicts.verdict(first, ADDRESS)
    at = edge.clock.now()
    await edge.report.report()
    used = {use.api_key_id: use.used_at.ToMilliseconds() for use in edge.auth.uses}
    assert used == {
        f"key_{first[4:12]}": int(at.timestamp() * 1000),
        f"key_{second[4:12]}": used[f"key_{second[4:12]}"],
    }
    await edge.report.report()
    assert len(edge.auth.uses) == 2


async def test_refused_logins_are_counted_by_minute_and_address() -> None:
    edge = _Edge(unknown_keys=2)
    for _ in range(4):
        with pytest.raises((InvalidApiKey, RateLimitExceeded)):
            await edge.verdicts.verdict(_forged(), ADDRESS)
    assert await edge.is_refused("ask_mistyped", "198.51.100.2")
    edge.clock.advance(60)
    assert await edge.is_refused("ask_mistyped", "198.51.100.2")
    await edge.report.report()
    told = [(said.address, said.count) for said in edge.auth.refusals]
    assert told == [(ADDRESS, 4), ("198.51.100.2", 1), ("198.51.100.2", 1)]
    minutes = [said.minute.ToSeconds() for said in edge.auth.refusals]
    assert minutes[2] - minutes[1] == 60
    assert all(minute % 60 == 0 for minute in minutes)


async def test_too_many_addresses_are_counted_as_other() -> None:
    edge = _Edge()
    for number in range(1500):
        edge.report.refused(f"10.0.{number // 250}.{number % 250}")
    await edge.report.report()
    assert sum(said.count for said in edge.auth.refusals) == 1500
    assert len(edge.auth.refusals) == 1001
    assert edge.auth.refusals[-1].address == "other"


async def test_what_auth_could_not_take_of_uses_is_told_later() -> None:
    edge = _Edge()
    key = edge.known_key()
    await edge.verdicts.verdict(key, ADDRESS)
    edge.auth.failure = AWAY
    await edge.report.report()
    edge.auth.failure = None
    await edge.report.close(10.0)
    assert [use.api_key_id for use in edge.auth.uses] == [f"key_{key[4:12]}"]


async def test_more_uses_than_fit_a_report_are_told_in_several() -> None:
    edge = _Edge()
    for number in range(2500):
        edge.report.used(f"key_{number}")
    await asyncio.wait_for(edge.report.report(), 30)
    assert len({use.api_key_id for use in edge.auth.uses}) == 2500
