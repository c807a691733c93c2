"""Tells watchers of verdicts that hold no longer, wherever they fell.

One mechanism for all replicas: the store's revocations are polled, and a revocation made here only hastens the poll. A
heartbeat follows each poll that succeeded, so a watch that hears nothing knows that it knows nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from asahi_auth.domain.store import AuthStore, Revocation
from asahi_core.errors import AsahiError, Overloaded

_POLL_EVERY_S = 0.2
_BATCH = 500
_QUEUE_BOUND = 1000


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The watch stands."""


News = Revocation | Heartbeat
_HEARTBEAT = Heartbeat()


class VerdictWatch:
    """Fans revocations out to watchers. One that falls behind is let go: it drops what it keeps and comes again."""

    def __init__(self, store: AuthStore, log: FilteringBoundLogger, *, queue_bound: int = _QUEUE_BOUND) -> None:
        self._store = store
        self._log = log
        self._queue_bound = queue_bound
        self._watchers: set[_Watcher] = set()
        self._hasten = asyncio.Event()
        self._last = 0
        self._reachable = True
        self._ended = False
        self.let_go = 0
        """Watchers that fell behind."""

    @property
    def watchers(self) -> int:
        """Watchers at the moment."""
        return len(self._watchers)

    async def start(self) -> None:
        """Begins where the store is now; before the first watcher comes."""
        self._last = await self._store.last_revocation()

    async def run(self, stop: asyncio.Event) -> None:
        """Polls and tells until `stop` is set; then all watches end."""
        try:
            while not stop.is_set():
                await self._poll()
                await self._pause()
        finally:
            self._ended = True
            for watcher in self._watchers:
                watcher.end()

    def hasten(self) -> None:
        """Polls now rather than at the next time."""
        self._hasten.set()

    async def news(self) -> AsyncGenerator[News, None]:
        """Revocations and heartbeats from now on.

        Raises:
            Overloaded: the watcher takes them slower than they come.
        """
        if self._ended:
            return
        watcher = _Watcher(self._queue_bound)
        self._watchers.add(watcher)
        self.hasten()
        try:
            async for one in watcher.news():
                yield one
        finally:
            self._watchers.discard(watcher)

    async def _poll(self) -> None:
        try:
            revocations = await self._store.revocations_after(self._last, _BATCH)
        except AsahiError as error:
            if self._reachable:
                self._log.error("revocations_unreadable", exc_info=error)
            self._reachable = False
            return
        if not self._reachable:
            self._log.info("revocations_readable")
        self._reachable = True
        if revocations:
            self._last = revocations[-1].sequence
            if len(revocations) == _BATCH:
                self.hasten()
        for watcher in tuple(self._watchers):
            if not watcher.tell(revocations):
                self.let_go += 1
                self._watchers.discard(watcher)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._hasten.wait(), _POLL_EVERY_S)
        except TimeoutError:
            return
        self._hasten.clear()


class _Watcher:
    """What waits for one watcher, bounded."""

    def __init__(self, bound: int) -> None:
        self._waiting: asyncio.Queue[News | None] = asyncio.Queue(bound)
        self._behind = False

    def tell(self, revocations: Sequence[Revocation]) -> bool:
        """Takes what is to be told, or a heartbeat where nothing waits; False: it does not fit, and the watch ends."""
        room = self._waiting.maxsize - self._waiting.qsize()
        if len(revocations) > room:
            self._behind = True
            self.end()
            return False
        for revocation in revocations:
            self._waiting.put_nowait(revocation)
        if self._waiting.empty():
            self._waiting.put_nowait(_HEARTBEAT)
        return True

    def end(self) -> None:
        """Ends the watch at once; what still waits is dropped, for the watcher will drop all it keeps anyway."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def news(self) -> AsyncIterator[News]:
        """What was told, until the end."""
        while (one := await self._waiting.get()) is not None:
            yield one
        if self._behind:
            raise Overloaded("The watch fell behind and has ended; connect anew.", retry_after_s=0.1)
