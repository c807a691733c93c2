"""Who waits for an answer over HTTP, and whether they still do."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import Request

from asahi_core.errors import Cancelled

ResultT = TypeVar("ResultT")


class HttpCaller:
    """The client of a request whose body has been read."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive

    async def left(self) -> None:
        """Returns when the client has hung up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def unless_left(caller: HttpCaller, wanted: "asyncio.Future[ResultT]", timeout_s: float | None) -> bool:
    """Whether `wanted` is there within `timeout_s`; it is not cancelled if not.

    Raises:
        Cancelled: the caller left before; `wanted` is cancelled.
    """
    leaving = asyncio.ensure_future(caller.left())
    try:
        both: set[asyncio.Future[Any]] = {wanted, leaving}
        done, _ = await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        wanted.cancel()
        await asyncio.wait({wanted})
        raise
    finally:
        leaving.cancel()
    if leaving in done and wanted not in done:
        wanted.cancel()
        await asyncio.wait({wanted})
        raise Cancelled("The caller left before the answer came.")
    return wanted in done


async def first_of(awaitable: Awaitable[ResultT]) -> ResultT:
    """`awaitable` as a coroutine, for a task of its own."""
    return await awaitable
