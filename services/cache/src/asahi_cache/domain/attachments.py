"""The edges' standing connections: what each is still to be told, and whether it still stands.

It does not know how messages travel; transport takes them from `Attachment.messages` one by one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from asahi.cache.v1.cache_pb2 import AttachResponse, Heartbeat, Invalidation

HEARTBEAT_S = 0.2
"""Silence after which an edge is told that the connection stands."""
_TOGETHER_BYTES = 256 * 1024
_TOLD_WITHIN_S = 1.0
"""An edge that heard nothing for so long serves no copies, so whoever cannot be told by then need not be."""


@dataclass(frozen=True, slots=True)
class _Queued:
    message: AttachResponse
    handed_over: "asyncio.Future[None] | None" = None


class Attachment:
    """One edge's connection. It ends for good when the edge is gone, falls behind, or attaches anew."""

    def __init__(self, edge_id: str, max_queued: int, heartbeat: AttachResponse) -> None:
        self.edge_id = edge_id
        self.heartbeat = heartbeat
        """What is sent when nothing else is."""
        self._max_queued = max_queued
        self._queue: deque[_Queued] = deque()
        self._changed = asyncio.Event()
        self._silent = True
        self._on_end: list[Callable[[], Any]] = []
        self.ended = False

    def on_end(self, callback: Callable[[], Any]) -> None:
        """Has `callback` called when the connection ends."""
        self._on_end.append(callback)

    def send(self, message: AttachResponse) -> None:
        """Queues `message`. An edge that falls behind loses its connection, so that it misses none unknowingly."""
        self._put(_Queued(message))

    def send_and_tell(self, message: AttachResponse) -> "asyncio.Future[None]":
        """Queues `message`; the future is done when transport has taken it, or the connection has ended."""
        handed_over = asyncio.get_running_loop().create_future()
        self._put(_Queued(message, handed_over))
        return handed_over

    async def messages(self) -> AsyncGenerator[AttachResponse, None]:
        """What the edge is told, beginning with a heartbeat, until the connection ends.

        Whoever iterates asks for the next message only when the one before is on its way.
        """
        beating = asyncio.create_task(self._beat())
        try:
            yield self.heartbeat
            while True:
                while self._queue:
                    self._silent = False
                    together = self._take()
                    messages = [queued.message for queued in together]
                    try:
                        yield AttachResponse(several=messages) if len(messages) > 1 else messages[0]
                    finally:
                        for queued in together:
                            _resolve(queued)
                if self.ended:
                    return
                self._changed.clear()
                await self._changed.wait()
                if self._silent and not self._queue and not self.ended:
                    yield self.heartbeat
        finally:
            beating.cancel()

    def _take(self) -> list[_Queued]:
        """What is there together travels together, for a message costs as much as what is in it."""
        taken, size = [self._queue.popleft()], 0
        while self._queue and (size := size + taken[-1].message.ByteSize()) < _TOGETHER_BYTES:
            taken.append(self._queue.popleft())
        return taken

    async def _beat(self) -> None:
        """Has a heartbeat sent whenever nothing was sent for `HEARTBEAT_S`."""
        while not self.ended:
            self._silent = True
            await asyncio.sleep(HEARTBEAT_S)
            if self._silent:
                self._changed.set()

    def end(self) -> None:
        """Ends the connection; a second time changes nothing."""
        if self.ended:
            return
        self.ended = True
        for callback in self._on_end:
            callback()
        while self._queue:
            _resolve(self._queue.popleft())
        self._changed.set()

    def _put(self, queued: _Queued) -> None:
        if not self.ended and len(self._queue) >= self._max_queued:
            self.end()
        if self.ended:
            _resolve(queued)
            return
        self._queue.append(queued)
        self._changed.set()


class Attachments:
    """The edges that are attached now."""

    def __init__(self, max_queued: int, *, shared: bool = False) -> None:
        """`max_queued` messages may wait for one edge. `shared`: edges may as well attach to another replica."""
        self._max_queued = max_queued
        self._shared = shared
        self._heartbeat = AttachResponse(heartbeat=Heartbeat(shared=shared))
        self._by_edge: dict[str, Attachment] = {}

    def __len__(self) -> int:
        return len(self._by_edge)

    def attach(self, edge_id: str) -> Attachment:
        """A new connection of the edge; an older one of the same edge ends."""
        older = self._by_edge.get(edge_id)
        if older is not None:
            older.end()
        attachment = Attachment(edge_id, self._max_queued, self._heartbeat)
        self._by_edge[edge_id] = attachment
        attachment.on_end(lambda: self._remove(attachment))
        return attachment

    def find(self, edge_id: str) -> Attachment | None:
        """The edge's connection, if it stands."""
        return self._by_edge.get(edge_id)

    async def withdraw(self, organization_id: str, fingerprint: bytes = b"") -> None:
        """Tells every edge that the entry (empty: any entry of the organisation) may be served no longer.

        Returns when all know. An edge that takes nothing for a second has stopped trusting its copies; it loses its
        connection, so that it trusts none of them again.
        """
        attachments = tuple(self._by_edge.values())
        if not attachments:
            return
        message = AttachResponse(invalidation=Invalidation(organization_id=organization_id, fingerprint=fingerprint))
        told = {attachment.send_and_tell(message): attachment for attachment in attachments}
        _, late = await asyncio.wait(told, timeout=_TOLD_WITHIN_S)
        for future in late:
            told[future].end()

    def withdraw_all(self) -> None:
        """Tells every edge that no entry of any organisation may be served any longer."""
        for attachment in tuple(self._by_edge.values()):
            attachment.send(AttachResponse(invalidation=Invalidation()))

    def tell_degraded(self, *stores: str) -> None:
        """Tells every edge, now and with each heartbeat, which stores the service does without at the moment."""
        if list(stores) != list(self._heartbeat.heartbeat.degraded):
            self._heartbeat = AttachResponse(heartbeat=Heartbeat(degraded=stores, shared=self._shared))
            for attachment in tuple(self._by_edge.values()):
                attachment.heartbeat = self._heartbeat
                attachment.send(self._heartbeat)

    def end_all(self) -> None:
        """Ends every connection."""
        for attachment in tuple(self._by_edge.values()):
            attachment.end()

    def _remove(self, attachment: Attachment) -> None:
        if self._by_edge.get(attachment.edge_id) is attachment:
            del self._by_edge[attachment.edge_id]


def _resolve(queued: _Queued) -> None:
    if queued.handed_over is not None and not queued.handed_over.done():
        queued.handed_over.set_result(None)
