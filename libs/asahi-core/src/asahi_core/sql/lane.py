"""Threads for work that blocks, with a bound on what waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from asahi_core.errors import Overloaded

T = TypeVar("T")
_MOST_UNDER_WAY = 1000
_RETRY_AFTER_S = 1.0


class Lane:
    """Runs work on at most `threads` threads. Work whose caller left before it began is dropped."""

    def __init__(self, name: str, threads: int, *, store: str, most_under_way: int = _MOST_UNDER_WAY) -> None:
        """`store` is what callers are told of, for example "store of keys"."""
        self._threads = ThreadPoolExecutor(threads, name)
        self._store = store
        self._most_under_way = most_under_way
        self._under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What `work`, which runs in the caller's context, returns. Raises Overloaded if too much waits already."""
        if self._under_way >= self._most_under_way:
            raise Overloaded(f"Too many calls wait for the {self._store}; try again.", retry_after_s=_RETRY_AFTER_S)
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)
        future.add_done_callback(self._leave)
        return await future

    def close(self) -> None:
        """Returns when what is under way is done."""
        self._threads.shutdown()

    def _leave(self, _future: object) -> None:
        self._under_way -= 1
