"""Threads for work that blocks, with a bound on what waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asahi_core.errors import Overloaded

T = TypeVar("T")
_MOST_UNDER_WAY = 1000


class Lane:
    """Runs work on at most `threads` threads. Work whose caller left before it began is dropped."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises Overloaded if too much waits already."""
        if self._under_way >= _MOST_UNDER_WAY:
            raise Overloaded("Too many calls wait for the store of keys; try again.", retry_after_s=1.0)
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._leave)
        return await future

    def close(self) -> None:
        """Returns when what is under way is done."""
        self._threads.shutdown()

    def _leave(self, _future: object) -> None:
        self._under_way -= 1
