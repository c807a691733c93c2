"""A Redis that Sentinels watch over: a client of whichever server is its master now.

TLS is for Sentinels too. In the address's query `sentinel_username` and `sentinel_password` are for them; all else is
as in an address of one server.
"""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import RedisError

from asahi_core.redis.address import SENTINELS

_PORT = 26379


def watched_client(url: str, **options: Any) -> Redis:
    """A client of the master; `options` as redis-py's connections take them. Nobody need answer yet.

    Raises:
        ValueError: the address is none of Sentinels.
    """
    found = SENTINELS.fullmatch(url)
    if found is None:
        raise ValueError("an address such as redis+sentinel://host:26379,host:26379/name/0")
    hosts = [urlsplit(f"//{host}") for host in found["hosts"].split(",")]
    server: dict[str, Any] = {
        **parse_url(f"{found['scheme']}://{found['who'] or ''}master{found['database'] or ''}{found['more'] or ''}")
    }
    server = {key: value for key, value in server.items() if key not in ("host", "port")}
    server |= options | {"ssl": server.pop("connection_class", None) is SSLConnection}
    own = {key: server.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    shared = {key: value for key, value in server.items() if key.startswith(("ssl", "socket_", "retry"))}
    watchers = [(host.hostname, host.port or _PORT) for host in hosts]
    return _Master(found["name"], _Sentinels(watchers, sentinel_kwargs={**shared, **own}), server)  # type: ignore[no-untyped-call]


class _Sentinels(Sentinel):
    """Asks all of them at once: one that does not answer takes nobody's time."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The address that the first to know a master names."""
        asked = [asyncio.create_task(self._ask(sentinel, service_name)) for sentinel in self.sentinels]
        try:
            for answer in asyncio.as_completed(asked):
                if address := await answer:
                    return address
        finally:
            for task in asked:
                task.cancel()
        raise MasterNotFoundError(f"no Sentinel knows a master {service_name!r}")

    async def _ask(self, sentinel: Redis, name: str) -> tuple[str, int] | None:
        try:
            masters: Any = await sentinel.sentinel_masters()
        except (RedisError, OSError):
            return None
        state = masters.get(name)
        return (state["ip"], state["port"]) if state and self.check_master_state(state, name) else None


class _Master(Redis):
    """Closes its connections to Sentinels, too."""

    def __init__(self, name: str, sentinels: _Sentinels, options: dict[str, Any]) -> None:
        super().__init__(connection_pool=SentinelConnectionPool(name, sentinels, **options))  # type: ignore[no-untyped-call]
        self._sentinels = sentinels
        self.auto_close_connection_pool = True  # else a pool that is given is left open

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """As of every client."""
        await super().aclose(close_connection_pool)
        await self._sentinels.aclose()
