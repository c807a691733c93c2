"""Two replicas of the cache service on one Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from services.cache.tests.builders import GUARD_S, Serving, serving, settings
from services.cache.tests.edges import Edge, edges
from tests.installation import free_port
from tests.redis_server import RedisServer


@asynccontextmanager
async def two_replicas(server: RedisServer) -> AsyncIterator[tuple[Edge, Edge, Serving, Serving]]:
    """An edge at each of two replicas that hear each other."""
    async with AsyncExitStack() as stack:
        ports = [free_port(), free_port()]
        shared = [settings(redis_url=server.url, grpc_address=f"127.0.0.1:{port}") for port in ports]
        first, second = [await stack.enter_async_context(serving(one)) for one in shared]
        await until(lambda: not alone(first) and not alone(second))
        (one,) = await stack.enter_async_context(edges(first.address, 1))
        (two,) = await stack.enter_async_context(edges(second.address, 1))
        yield one, two, first, second


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes too
            await asyncio.sleep(0.02)


def alone(replica: Serving) -> bool:
    assert replica.service.shared is not None
    return replica.service.shared.alone
