"""Groups what makes a log durable: writes that come while one sync is due or under way share the next."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Histogram

from asahi_core.clock import Clock
from asahi_edge.stores.segments import SyncWork

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_SYNC_SECONDS = Histogram("asahi_edge_spool_sync_seconds", "Time a sync of the usage spool took.", buckets=_BUCKETS_S)


class GroupSync:
    """Runs at most one sync at a time in `thread`, `delay_s` after the first write that asks for it."""

    def __init__(
        self,
        take_work: Callable[[], SyncWork],
        thread: ThreadPoolExecutor,
        clock: Clock,
        *,
        delay_s: float,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._take_work = take_work
        self._thread = thread
        self._clock = clock
        self._delay_s = delay_s
        self._on_failure = on_failure
        self._due: asyncio.Future[bool] | None = None
        self._running: asyncio.Future[bool] | None = None

    def request(self) -> "asyncio.Future[bool]":
        """Whether what is written by now was made durable; asks for a sync where none is due. Never to be cancelled."""
        if self._due is None:
            self._due = asyncio.get_running_loop().create_future()
            if self._running is None:
                self._arm()
        return self._due

    async def settled(self) -> None:
        """Waits until no sync is due or under way."""
        while (current := self._running or self._due) is not None:
            await asyncio.wait([current])

    def _arm(self) -> None:
        asyncio.get_running_loop().call_later(self._delay_s, self._start)

    def _start(self) -> None:
        self._running, self._due = self._due, None
        started = self._clock.monotonic()
        working = asyncio.get_running_loop().run_in_executor(self._thread, self._take_work().run)
        working.add_done_callback(lambda done: self._end(done, started))

    def _end(self, working: "asyncio.Future[None]", started: float) -> None:
        running, self._running = self._running, None
        _SYNC_SECONDS.observe(self._clock.monotonic() - started)
        error = working.exception()
        if error is not None:
            self._on_failure(error)
        if self._due is not None:
            self._arm()
        if running is not None:
            running.set_result(error is None)
