"""An edge that moves between two replicas of the cache on one Redis: look-ups are shared out, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from random import Random

import pytest
import structlog

from asahi.cache.v1 import cache_pb2 as pb
from asahi_cache.domain import attachments
from asahi_core.clock import SystemClock
from asahi_core.rpc.channel import ServiceChannel
from asahi_edge.clients import cache_attachment
from asahi_edge.clients.cache import SERVICE, CacheClient
from asahi_edge.clients.cache_attachment import CacheAttachment
from asahi_edge.domain.near_cache import NearCache
from services.cache.tests.builders import GUARD_S, Serving, digest, entry, opening, text_piece
from services.cache.tests.edges import Edge, Following
from services.cache.tests.replicas import two_replicas, until
from tests.redis_server import RedisServer, redis_server

_MINE = "org-1"
_OTHER = "org-2"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _moves_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat that a busy machine holds up is not taken for a connection that broke, at either end."""
    monkeypatch.setattr(cache_attachment, "_STAYS_S", 0.3)
    monkeypatch.setattr(cache_attachment, "_STANDS_FOR_S", GUARD_S)
    monkeypatch.setattr(attachments, "_TOLD_WITHIN_S", GUARD_S)


@dataclass(slots=True)
class _Moving:
    """The edge, its copies, and what is around it."""

    attachment: CacheAttachment
    client: CacheClient
    near: NearCache
    one: Edge
    two: Edge
    first: Serving
    second: Serving
    missed: list[str]
    wanted: set[str]
    numbers: "count[int]"

    async def lead(self) -> str:
        """A new flight that this edge leads."""
        key = digest(next(self.numbers))
        found = await self.client.lookup(_MINE, key, None, key)
        assert found.lead_flight_id
        return found.lead_flight_id

    async def lead_at(self, replica: Serving) -> str:
        """A new flight led at this replica; others are ended."""
        while True:
            before = replica.service.flights.led
            flight_id = await self.lead()
            if replica.service.flights.led > before:
                return flight_id
            self.client.end_flight(flight_id, None)
            await asyncio.sleep(0.02)

    async def move(self, times: int) -> None:
        """Returns when it has moved so often."""
        for _ in range(times):
            for replica in (self.first, self.second):
                self.client.end_flight(await self.lead_at(replica), None)


@asynccontextmanager
async def _moving(server: RedisServer) -> AsyncIterator[_Moving]:
    async with two_replicas(server) as (one, two, first, second):
        target = f"ipv4:{first.address},{second.address}"
        clock, missed, wanted = SystemClock(), list[str](), set[str]()
        async with ServiceChannel("cache", target, SERVICE, timeout_s=GUARD_S) as channel:
            attachment = CacheAttachment(channel, "edge-9", clock, structlog.get_logger(), Random(1))
            client = CacheClient(channel, attachment, GUARD_S, lambda _address: channel)
            near = NearCache(clock, 1024 * 1024)
            attachment.on_withdrawn = near.withdraw
            attachment.on_missed = lambda: missed.append("withdrawals")
            attachment.on_wanted, attachment.on_unwanted = wanted.add, wanted.discard
            running = asyncio.create_task(attachment.run())
            await until(lambda: attachment.stands)
            yield _Moving(attachment, client, near, one, two, first, second, missed, wanted, count(100))
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def _near_has(moving: _Moving, organization_id: str, number: int) -> bool:
    return moving.attachment.stands and moving.near.find(organization_id, digest(number), None) is not None


async def _keep(moving: _Moving, organization_id: str, number: int) -> None:
    epoch, answer = moving.near.epoch, entry(given_at_s=SystemClock().now().timestamp())
    ttl_s = await moving.client.store(organization_id, digest(number), answer, None, "")
    moving.near.keep(organization_id, digest(number), answer, ttl_s, epoch)


async def test_lookups_are_shared_out_and_no_flight_is_lost(server: RedisServer) -> None:
    async with _moving(server) as moving:
        flights = [replica.service.flights for replica in (moving.first, moving.second)]
        stood = list[bool]()
        async with asyncio.timeout(GUARD_S):
            while min(one.led for one in flights) < 40:
                moving.client.end_flight(await moving.lead(), entry())
                stood.append(moving.client.attached)
                await asyncio.sleep(0.01)
        assert sum(stood) >= 0.95 * len(stood)  # a busy machine may hold a heartbeat up
        shares = [one.led / sum(each.led for each in flights) for one in flights]
        assert min(shares) >= 0.15
        await until(lambda: not any(len(one) for one in flights))
        assert moving.missed == []
        assert [one.interrupted for one in flights] == [0, 0]


async def test_a_flight_is_followed_to_its_end_at_the_replica_that_was_moved_from(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_attachment, "_OVERLAP_S", 0.5)
    async with _moving(server) as moving:
        flight_id = await moving.lead_at(moving.first)
        following = moving.one.follow(flight_id)
        await until(lambda: flight_id in moving.wanted)
        moving.client.publish(flight_id, opening())
        for word in ("for", "ty", "-two"):
            await moving.move(2)
            moving.client.publish(flight_id, text_piece(word))
        await moving.client.store(_MINE, digest(1), entry(), None, flight_id)
        moving.client.end_flight(flight_id, entry())
        await _has_heard(following)
        assert moving.missed == []


async def _has_heard(following: Following) -> None:
    last = await following.end()
    assert isinstance(last, pb.FollowFlightResponse)
    assert last.finished == entry()
    assert [piece.text for piece in following.pieces[1:]] == ["for", "ty", "-two"]


async def test_what_any_replica_withdraws_is_served_no_longer_and_nothing_else_is_forgotten(
    server: RedisServer,
) -> None:
    async with _moving(server) as moving:
        await _keep(moving, _OTHER, 1)
        for number in range(2, 22):
            await _keep(moving, _MINE, number)
            async with asyncio.timeout(GUARD_S):
                while (
                    moving.near.find(_MINE, digest(number), None) is None
                ):  # the last withdrawal came meanwhile, again
                    await _keep(moving, _MINE, number)
            await asyncio.sleep(0.05)
            withdrawing = (moving.one, moving.two)[number % 2]
            assert await withdrawing.invalidate() == 1
            assert not _near_has(moving, _MINE, number)
        assert moving.near.find(_OTHER, digest(1), None) is not None
        assert moving.missed == []


async def test_the_end_of_a_replica_interrupts_no_flight_led_at_another(server: RedisServer) -> None:
    async with _moving(server) as moving:
        flight_id = await moving.lead_at(moving.first)
        following = moving.one.follow(flight_id)
        await until(lambda: flight_id in moving.wanted)
        await moving.lead_at(moving.second)  # it is not ended: it breaks with its replica
        moving.second.stop.set()
        await asyncio.wait_for(moving.second.running, GUARD_S)
        await until(lambda: moving.attachment.stands)
        assert moving.wanted == {flight_id}
        moving.client.publish(flight_id, opening())
        moving.client.end_flight(flight_id, entry())
        last = await following.end()
        assert isinstance(last, pb.FollowFlightResponse)
        assert last.finished == entry()


async def test_connections_that_have_nothing_to_say_any_more_are_left(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_attachment, "_OVERLAP_S", 0.5)
    async with _moving(server) as moving:
        await moving.move(2)
        held = await moving.lead_at(moving.first)
        await moving.move(1)
        monkeypatch.setattr(cache_attachment, "_STAYS_S", 3600.0)
        await until(lambda: len(moving.attachment._links) == 2)
        moving.client.end_flight(held, None)
        await until(lambda: len(moving.attachment._links) == 1)
        led = [replica.service.flights._led for replica in (moving.first, moving.second)]
        await until(lambda: sum(len(one) for one in led) == 3)  # with the edge that stays at each
        assert moving.attachment.stands
        assert moving.missed == []
