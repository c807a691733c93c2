"""Revocations are heard by every watcher, wherever they were made."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.domain.store import Revocation, Transaction
from asahi_auth.domain.watch import Heartbeat, News, VerdictWatch
from asahi_auth.stores.opening import open_store
from asahi_auth.stores.sql import SqlStore
from asahi_core.clock import SystemClock
from asahi_core.errors import Overloaded
from services.auth.tests.running import GUARD_S, OPERATOR, RunningAuth, acting, quiet_log, running
from tests.postgresql import PostgreSQL, postgresql


@contextlib.asynccontextmanager
async def watching(auth: RunningAuth) -> AsyncIterator[AsyncIterator[pb.WatchResponse]]:
    """A watch that stands."""
    events: Any = auth.stub.Watch(pb.WatchRequest(), timeout=GUARD_S)
    async with contextlib.aclosing(events):
        assert (await anext(events)).HasField("heartbeat")
        yield events


async def next_revoked(events: AsyncIterator[pb.WatchResponse]) -> str:
    async for event in events:
        if event.api_key_id:
            return event.api_key_id
    raise AssertionError("The watch ended without a revocation.")


async def test_a_watch_beats_from_the_start_and_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as auth, watching(auth) as events:
        for _ in range(3):
            assert (await anext(events)).HasField("heartbeat")


async def test_every_watcher_hears_of_a_revocation(tmp_path: Path) -> None:
    async with running(tmp_path) as auth, watching(auth) as one, watching(auth) as other:
        first = (await auth.signup()).api_key
        key = (await auth.create(first)).api_key
        await auth.revoke(acting(first), key)
        assert [await next_revoked(one), await next_revoked(other)] == [key.id, key.id]


async def test_a_revocation_made_by_another_replica_is_heard(tmp_path: Path) -> None:
    async with running(tmp_path) as here, running(tmp_path) as there, watching(here) as events:
        keys = [(await there.signup()).api_key for _ in range(3)]
        for key in keys:
            await there.revoke(OPERATOR, key)
        assert [await next_revoked(events) for _ in keys] == [key.id for key in keys]


async def test_what_was_revoked_before_is_not_repeated(tmp_path: Path) -> None:
    async with running(tmp_path) as auth:
        old, new = (await auth.signup()).api_key, (await auth.signup()).api_key
        await auth.revoke(OPERATOR, old)
    async with running(tmp_path) as auth, watching(auth) as events:
        await auth.revoke(OPERATOR, new)
        assert await next_revoked(events) == new.id


async def test_watches_end_when_the_service_stops(tmp_path: Path) -> None:
    async with watching_until_stopped(tmp_path) as events:
        async for event in events:
            assert event.HasField("heartbeat")


@contextlib.asynccontextmanager
async def watching_until_stopped(data_dir: Path) -> AsyncIterator[AsyncIterator[pb.WatchResponse]]:
    """A watch on a service that is told to stop, and would wait an hour for calls under way."""
    async with running(data_dir, shutdown_grace_seconds=3600) as auth, watching(auth) as events:
        auth.stop.set()
        yield events


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    with contextlib.closing(open_store(tmp_path)) as opened:
        yield opened


@contextlib.asynccontextmanager
async def polling(watch: VerdictWatch) -> AsyncIterator[None]:
    await watch.start()
    stop = asyncio.Event()
    async with asyncio.timeout(GUARD_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch.run(stop))
        yield
        stop.set()


async def revoke(store: SqlStore, *key_ids: str) -> None:
    def work(transaction: Transaction) -> None:
        for key_id in key_ids:
            transaction.revoke_key(key_id, SystemClock().now(), "operator")

    await store.change(work)


async def test_a_watcher_that_falls_behind_is_let_go_and_others_are_not(store: SqlStore) -> None:
    watch = VerdictWatch(store, quiet_log(), queue_bound=3)
    async with polling(watch), contextlib.aclosing(watch.news()) as slow, contextlib.aclosing(watch.news()) as quick:
        assert [await anext(slow), await anext(quick)] == [Heartbeat(), Heartbeat()]
        for number in range(4):
            await revoke(store, f"key_{number}")
            while (news := await anext(quick)) == Heartbeat():
                pass
            assert news == Revocation(number + 1, f"key_{number}")
        with pytest.raises(Overloaded, match="connect anew"):
            await anext(slow)
        assert (watch.watchers, watch.let_go) == (1, 1)


async def test_many_revocations_at_once_are_all_heard_in_order(store: SqlStore) -> None:
    watch = VerdictWatch(store, quiet_log())
    async with polling(watch), contextlib.aclosing(watch.news()) as events:
        assert await anext(events) == Heartbeat()
        await revoke(store, *(f"key_{number}" for number in range(1200)))
        heard = [news async for news in until(events, Revocation(1200, "key_1199")) if news != Heartbeat()]
        assert heard == [Revocation(number + 1, f"key_{number}") for number in range(1200)]


async def until(events: AsyncIterator[News], last: News) -> AsyncIterator[News]:
    async for news in events:
        yield news
        if news == last:
            return


async def test_no_heart_beats_while_the_store_cannot_be_read_and_nothing_is_missed_after(
    tmp_path: Path, server: PostgreSQL
) -> None:
    url = server.create_database("auth_unreadable")
    with contextlib.closing(open_store(tmp_path, url)) as store, psycopg.connect(url) as other:
        watch = VerdictWatch(store, quiet_log())
        async with polling(watch), contextlib.aclosing(watch.news()) as events:
            assert await anext(events) == Heartbeat()
            heartbeats: list[News] = []
            listening = asyncio.create_task(until_revocation(events, heartbeats))
            other.execute("LOCK TABLE revocations IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(0.5)
            heartbeats.clear()
            await asyncio.sleep(0.5)
            assert heartbeats == []
            other.execute("INSERT INTO revocations VALUES (1, 'key_1', '')")
            other.commit()
            assert await listening == Revocation(1, "key_1")


async def test_a_watch_outlives_a_restart_of_the_database(tmp_path: Path) -> None:
    with postgresql() as server, contextlib.closing(open_store(tmp_path, server.url())) as store:
        watch = VerdictWatch(store, quiet_log())
        async with polling(watch), contextlib.aclosing(watch.news()) as events:
            listening = asyncio.create_task(until_revocation(events, []))
            server.stop()
            await asyncio.sleep(0.5)
            server.start()
            await revoke(store, "key_1")
            assert await listening == Revocation(1, "key_1")


async def until_revocation(events: AsyncIterator[News], heartbeats: list[News]) -> News:
    """The first revocation; what beats before it goes to `heartbeats`."""
    async for news in events:
        if news != Heartbeat():
            return news
        heartbeats.append(news)
    raise AssertionError("The watch ended without a revocation.")
