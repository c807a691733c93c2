"""Redis watched over by Sentinels: the client finds the master, and the one after it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr, TypeAdapter, ValidationError
from redis import Redis

from asahi_core.redis.breaker import BROKEN, Breaker, redis_client
from asahi_core.redis.scripts import ScriptCalls, script
from asahi_core.settings import RedisUrl
from tests.redis_server import RedisServer, redis_server

_WITHIN_S = 60.0
_CALL_S = 2.0
_ADD = script("return redis.call('INCR', KEYS[1])")
_HOST = "127.0.0.1"


@contextmanager
def _watched(folder: Path) -> Iterator[tuple[str, RedisServer]]:
    """The address of a master with a replica, and the master. The first Sentinel of the two is not there."""
    settings = folder / "sentinel.conf"
    with ExitStack() as stack:
        master = stack.enter_context(redis_server())
        stack.enter_context(redis_server(_HOST, "--replicaof", _HOST, str(master.port)))
        with closing(Redis(_HOST, master.port)) as client:
            client.set("known", 1)
            assert client.wait(1, 30_000) == 1  # else the Sentinel would hear of the replica ten seconds later
        settings.write_text(
            f"sentinel monitor shared {_HOST} {master.port} 1\n"
            "sentinel down-after-milliseconds shared 500\n"
            "sentinel failover-timeout shared 2000\n"
        )
        sentinel = stack.enter_context(redis_server(_HOST, str(settings), "--sentinel"))
        yield f"redis+sentinel://{_HOST}:1,{_HOST}:{sentinel.port}/shared/0", master


async def test_calls_go_to_the_master_and_after_its_end_to_the_next_with_what_was_written(tmp_path: Path) -> None:
    with _watched(tmp_path) as (url, master):
        client = redis_client(url)
        calls, breaker = ScriptCalls(client, _CALL_S), Breaker(client, structlog.get_logger(), call_s=_CALL_S)
        watching = asyncio.create_task(breaker.watch())
        try:
            assert await _added(calls, breaker) == 1
            assert await client.wait(1, 30_000) == 1
            master.stop()
            assert await _added(calls, breaker) == 2
        finally:
            watching.cancel()
            await calls.close()
            await client.aclose()


async def _added(calls: ScriptCalls, breaker: Breaker) -> int:
    """What a counter comes to, asked for until somebody answers."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            try:
                return int(await breaker.ask(calls.run(_ADD, ["{test}"], [])))
            except BROKEN:
                await asyncio.sleep(0.1)


async def test_without_a_sentinel_calls_fail_as_without_redis() -> None:
    client = redis_client(f"rediss+sentinel://user:secret@{_HOST}:1/shared/0?ssl_ca_certs=/nowhere&sentinel_password=x")
    with pytest.raises(BROKEN, match="no Sentinel knows a master 'shared'"):
        await client.ping()
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:26379,b:26379/shared/0",
        "rediss+sentinel://user:p@a,b/shared?ssl_ca_certs=/etc/ca.crt",
        "redis://a:6379/0",
        "",
    ],
)
def test_settings_take_addresses_of_either_kind(url: str) -> None:
    assert TypeAdapter(RedisUrl).validate_python(url).get_secret_value() == url


@pytest.mark.parametrize("url", ["redis+sentinel://a:26379", "redis+sentinel:///shared", "sentinel://a/shared"])
def test_settings_refuse_an_address_without_sentinels_or_a_masters_name(url: str) -> None:
    with pytest.raises(ValidationError, match=r"redis\+sentinel://host"):
        TypeAdapter(RedisUrl).validate_python(SecretStr(url))
