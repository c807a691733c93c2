"""The edge's standing connection to the cache service: heartbeats, withdrawals, flights that cross edges, and calls.

Calls over it cost a third of calls of their own, and meet the cache replica that has this edge's flights. Where several
replicas share what they have, it is made anew at another one every few seconds, so that each gets its share: calls go
over the new connection, while flights come to their end on the old one. What either says to withdraw counts, and the
old one is left only when nothing that came over it can be withdrawn without the new one's saying so.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError
from asahi_core.rpc.channel import ServiceChannel
from asahi_edge.clients.cache_link import CacheLink, unavailable

_STANDS_FOR_S = 1.0
_PAUSE_S = 0.1
_STAYS_S = 3.5
"""Time at one replica, a tenth of it more or less, so that edges do not move together: four have two turns in 30 s."""
_OPENS_WITHIN_S = 1.0
"""A replica that takes longer to begin is not moved to."""
_OVERLAP_S = 3.0
"""A withdrawal reaches every replica within two seconds or fails, and an edge a second later or its connection ends."""
_MOST_LINKS = 8
"""Connections at once, as flights come to their end on old ones."""
_ENDS_WITHIN_S = 5.0
"""A replica that does not end a connection that was left is waited for no longer."""


class CacheAttachment:
    """Keeps the connection up; `run` must be running. Nothing is sent while it is down."""

    def __init__(
        self, channel: ServiceChannel, edge_id: str, clock: Clock, log: FilteringBoundLogger, random: Random
    ) -> None:
        """`edge_id` is unique to this process."""
        self._edge_id = edge_id
        self._link_id = edge_id
        """Of the current connection: made anew, it takes the place of the one that broke."""
        self._stub = CacheServiceStub(channel)
        self._clock = clock
        self._log = log
        self._random = random
        self._moves = count(1)
        self._links: list[CacheLink] = []
        """Those that stand."""
        self._current: CacheLink | None = None
        """The one for whatever begins."""
        self._told = False
        """Whether it was logged that there is no connection."""
        self.on_withdrawn: Callable[[str, bytes], Any] = lambda _organization_id, _fingerprint: None
        """Called with an organisation and a fingerprint; empty: all of the organisation, without one all there is."""
        self.on_missed: Callable[[], Any] = lambda: None
        """Called when withdrawals may have been missed."""
        self.on_wanted: Callable[[str], Any] = lambda _flight_id: None
        self.on_unwanted: Callable[[str], Any] = lambda _flight_id: None

    @property
    def stands(self) -> bool:
        """Whether there is a connection, and within the last second whatever may withdraw something was heard."""
        now = self._clock.monotonic()
        return self._current is not None and all(
            link.settled or now - link.heard_at < _STANDS_FOR_S for link in self._links
        )

    @property
    def degraded(self) -> tuple[str, ...]:
        """Stores that the cache service does without at the moment, as far as it was heard."""
        return self._current.degraded if self._current is not None and self.stands else ()

    def send(self, message: pb.AttachRequest) -> None:
        """Sends word of a flight, in order; dropped while the connection is down, for the flights died with it."""
        link = self._where(message.end.flight_id or message.delta.flight_id)
        if link is not None:
            link.send(message)

    def let_go(self, flight_id: str) -> None:
        """Nothing more will be said of a flight whose end the service knows."""
        for link in self._links:
            link.let_go(flight_id)

    async def call(self, call: pb.AttachedCall, timeout_s: float) -> pb.AttachedReply:
        """The reply to a look-up or a store; a store that ends a flight goes where that is led.

        Raises:
            AsahiError: as the method would; ServiceUnavailable when the connection is down or breaks.
            DeadlineExceeded: no reply came in time; a flight that a late one gives the lead of is ended.
        """
        link = self._where(call.store.flight_id)
        if link is None:
            raise unavailable()
        return await link.call(call, timeout_s)

    async def run(self) -> None:
        """Attaches, and again whenever the connection breaks, until cancelled; moves on from replica to replica."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                link = self._open(tasks, self._link_id)
                await link.opened
                self._take_up(link)
                while self._current is not None:
                    stays_s = self._random.uniform(0.9, 1.1) * _STAYS_S
                    await asyncio.wait((self._current.running,), timeout=stays_s)
                    if self._may_move:
                        await self._move(tasks)
                if self._told:
                    await asyncio.sleep(_PAUSE_S)

    @property
    def _may_move(self) -> bool:
        current = self._current
        return current is not None and current.shares and not current.degraded and len(self._links) < _MOST_LINKS

    async def _move(self, tasks: asyncio.TaskGroup) -> None:
        """Has whatever begins from now on go to the replica whose turn it is, unless that is not fit for it."""
        link = self._open(tasks, f"{self._edge_id}/{next(self._moves)}")
        await asyncio.wait((link.opened,), timeout=_OPENS_WITHIN_S)
        if link.opened.done() and link.shares and not link.degraded:
            self._take_up(link)
        else:
            _leave(link)

    def _open(self, tasks: asyncio.TaskGroup, edge_id: str) -> CacheLink:
        link = CacheLink(edge_id, self._clock, self._log, self._hear, self._leave_if_done)
        link.running = tasks.create_task(self._keep(link))
        return link

    def _take_up(self, link: CacheLink) -> None:
        if link.ended:
            return
        if not self._links:
            self._log.info("cache_attached")
        self._give_up_hearing()
        self._links.append(link)
        self._current, self._link_id, self._told = link, link.edge_id, False

    async def _keep(self, link: CacheLink) -> None:
        try:
            await link.run(self._stub)
        except AsahiError as error:
            if self._current not in (None, link):
                self._log.info("cache_connection_ended", error=error.message)
            elif not self._told:
                self._log.warning("cache_unattached", error=error.message)
                self._told = True
        finally:
            self._lose(link)

    def _lose(self, link: CacheLink) -> None:
        """The connection has ended, and was not left."""
        if link not in self._links:
            return
        self._links.remove(link)
        if link is self._current:
            self._current = None
        for flight_id in tuple(link.wanted):
            self.on_unwanted(flight_id)
        if not link.settled:
            self.on_missed()

    def _give_up_hearing(self) -> None:
        """Waits no longer for what silent connections would withdraw, by trusting nothing that came over them."""
        silent_since = self._clock.monotonic() - _STANDS_FOR_S
        silent = [link for link in self._links if not link.settled and link.heard_at <= silent_since]
        for link in silent:
            link.settled = True
        if silent:
            self.on_missed()

    def _hear(self, response: pb.AttachResponse) -> None:
        match response.WhichOneof("message"):
            case "invalidation":
                self.on_withdrawn(response.invalidation.organization_id, response.invalidation.fingerprint)
            case "wanted_flight_id":
                self.on_wanted(response.wanted_flight_id)
            case "unwanted_flight_id":
                self.on_unwanted(response.unwanted_flight_id)

    def _leave_if_done(self, link: CacheLink) -> None:
        if link not in self._links:
            return
        link.settled = link.settled or self._has_told_all(link)
        if link.settled and link.idle:
            self._links.remove(link)
            _leave(link)

    def _has_told_all(self, link: CacheLink) -> bool:
        """Whether of all that came over it nothing can be withdrawn any more without another's saying so.

        What was withdrawn before the current connection began was told by now, and what is withdrawn later the current
        one tells. A replica that goes on alone has yet to say what it could not hear meanwhile.
        """
        current = self._current
        if current is None or link is current or link.degraded:
            return False
        return link.heard_at - max(link.replied_at, current.opened_at) >= _OVERLAP_S

    def _where(self, flight_id: str) -> CacheLink | None:
        """The connection over which the flight is led, for anything else the current one."""
        leading = (link for link in self._links if flight_id and link.leads(flight_id))
        return next(leading, self._current)


def _leave(link: CacheLink) -> None:
    if not link.ended:
        link.leave()
    asyncio.get_running_loop().call_later(_ENDS_WITHIN_S, link.running.cancel)
