"""Identical requests under way at different edges: the first to ask leads a flight, the others may follow it.

A flight belongs to its lead's standing connection and ends with it. Pieces of the answer are asked for only when
somebody follows. Identical requests at the same edge are the edge's own business.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import AttachResponse, CacheEntry, FlightDelta, FlightEnd
from asahi_cache.domain.attachments import Attachment, Attachments
from asahi_cache.domain.flight import Flight, interruption
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, NotFound, Overloaded, ServiceUnavailable, UpstreamInterrupted

_FLIGHT_SHARE = 8
"""No flight may take more than this fraction, one over it, of what all may take."""
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class FlightLimits:
    """What the operator allows."""

    lifetime_s: float = 900.0
    """Longest time of a flight."""
    max_bytes: int = 64 * 1024 * 1024
    """Most bytes that pieces of all flights take."""
    max_led_by_edge: int = 50_000
    """Most flights of one edge."""
    last_pieces_s: float = 2.0
    """How long followers of a stored answer wait for pieces that are still under way."""


@dataclass(frozen=True, slots=True)
class Boarding:
    """What an asker is to do."""

    flight_id: str
    leads: bool
    """Whether to fetch the answer; else to follow whoever does."""
    address: str = ""
    """Where to follow, host:port; empty: here."""


class Flights:
    """All flights under way."""

    def __init__(self, attachments: Attachments, clock: Clock, process_id: str, limits: FlightLimits) -> None:
        """`process_id` is unique to this process: an id from before a restart names nothing."""
        self._attachments = attachments
        self._clock = clock
        self._process_id = process_id
        self._ids = 0
        self._limits = limits
        self._by_id: dict[str, Flight] = {}
        self._by_key: dict[tuple[str, bytes], Flight] = {}
        self._led: dict[Attachment, dict[str, Flight]] = {}
        self._closing = False
        self._empty = asyncio.Event()
        self.on_unlisted: Callable[[str, bytes], None] = lambda _organization_id, _key: None
        """Called with the organisation and the key of a flight that can be boarded no longer."""
        self.bytes = 0
        """What the pieces of all flights take, overhead included."""
        self.followers = 0
        """Who follow a flight now."""
        self.led = 0
        """Flights that there have been."""
        self.followed = 0
        """Times that a flight was followed."""
        self.interrupted = 0
        """Flights that lost their lead."""
        self.overloaded = 0
        """Flights too long to be followed to their end."""

    def __len__(self) -> int:
        return len(self._by_id)

    def attach(self, edge_id: str) -> Attachment:
        """A standing connection of the edge, which can lead flights from now on.

        Raises:
            ServiceUnavailable: the service is about to stop.
        """
        if self._closing:
            raise ServiceUnavailable("The cache service is stopping; attach to another.", retry_after_s=_RETRY_AFTER_S)
        attachment = self._attachments.attach(edge_id)
        self._led[attachment] = {}
        attachment.on_end(lambda: self._abandon(attachment))
        return attachment

    def board(self, organization_id: str, key: bytes, edge_id: str, flight_id: str = "") -> Boarding | None:
        """The identical request that is under way, else a new flight; None: the edge cannot lead one.

        `flight_id`: what `next_id` gave for the new flight; empty: it has yet to be asked.
        """
        attachment = self._attachments.find(edge_id)
        if attachment is None or self._closing:
            return None
        under_way = self.under_way(organization_id, key)
        if under_way is not None:
            return Boarding(under_way, leads=False)
        return self._open(organization_id, key, attachment, flight_id or self.next_id())

    def under_way(self, organization_id: str, key: bytes) -> str | None:
        """Id of the flight that may be followed; one that has lasted too long is ended."""
        flight = self._by_key.get((organization_id, key))
        if flight is not None and flight.expires_at <= self._clock.monotonic():
            self._stop(flight, interruption())
            return None
        return None if flight is None else flight.id

    def can_lead(self, edge_id: str) -> bool:
        """Whether the edge is attached here."""
        return self._attachments.find(edge_id) is not None and not self._closing

    def next_id(self) -> str:
        """An id for a new flight."""
        self._ids += 1
        return f"{self._process_id}-{self._ids}"

    def was_here(self, flight_id: str) -> bool:
        """Whether the id is one of this process, of a flight that is no more."""
        return flight_id.startswith(f"{self._process_id}-") and flight_id not in self._by_id

    def publish(self, lead: Attachment, delta: FlightDelta) -> None:
        """The next piece of a flight; passed over unless `lead` leads it."""
        flight = self._led.get(lead, {}).get(delta.flight_id)
        if flight is None:
            return
        self.bytes += flight.add(delta.delta)
        if flight.size > self._limits.max_bytes // _FLIGHT_SHARE or self.bytes > self._limits.max_bytes:
            message = "The answer is too long to be shared with a request at another edge; send the request again."
            self._stop(flight, Overloaded(message, retry_after_s=_RETRY_AFTER_S))
            lead.send(AttachResponse(unwanted_flight_id=delta.flight_id))

    def end(self, lead: Attachment, end: FlightEnd) -> None:
        """A flight has ended; passed over unless `lead` leads it."""
        flight = self._led.get(lead, {}).get(end.flight_id)
        if flight is None:
            return
        if end.HasField("finished"):
            flight.finish(end.finished)
        elif flight.answer is not None and not flight.was_unwanted:
            flight.finish(flight.answer)
        elif end.HasField("failed_status"):
            flight.fail(end.failed_status)
        else:
            self._stop(flight, interruption())
            return
        self._close(flight)

    def land(self, organization_id: str, flight_id: str, answer: CacheEntry) -> None:
        """The flight's whole answer is in the cache; passed over unless the organisation has such a flight.

        It can be boarded no longer. Those who follow it get the pieces that are still under way, up to the lead's word
        that it has ended.
        """
        flight = self._by_id.get(flight_id)
        if flight is None or flight.organization_id != organization_id:
            return
        self._unlist(flight)
        flight.store(answer)
        if not flight.followers:
            self._close(flight)

    def join(self, organization_id: str, flight_id: str) -> Flight:
        """The flight, followed by one more, who must `leave` it once.

        Raises:
            NotFound: the organisation has no such flight under way.
        """
        flight = self._by_id.get(flight_id)
        if flight is None or flight.organization_id != organization_id or flight.answer is not None:
            raise NotFound("No such flight is under way; look the answer up again.")
        flight.followers += 1
        self.followers += 1
        self.followed += 1
        if flight.followers == 1:
            flight.lead.send(AttachResponse(wanted_flight_id=flight.id))
        return flight

    def leave(self, flight: Flight) -> None:
        """One follower less."""
        flight.followers -= 1
        self.followers -= 1
        if flight.followers:
            return
        if flight.ended:
            self._free(flight)
        elif flight.answer is not None:
            self._close(flight)
        else:
            flight.was_unwanted = True
            flight.lead.send(AttachResponse(unwanted_flight_id=flight.id))

    async def withdraw(self, organization_id: str, fingerprint: bytes) -> None:
        """Tells every edge that an entry (empty: any of the organisation) may be served no longer.

        Nobody boards the organisation's flights any more that are under way: their answers are as old as the entry.
        """
        for flight in [flight for (owner, _), flight in self._by_key.items() if owner == organization_id]:
            self._unlist(flight)
        await self._attachments.withdraw(organization_id, fingerprint)

    def sweep(self) -> None:
        """Ends flights that have lasted too long."""
        now = self._clock.monotonic()
        for flight in tuple(self._by_id.values()):  # in the order of their expiry
            if flight.expires_at > now:
                return
            self._stop(flight, interruption())

    async def drain(self, within_s: float) -> None:
        """Opens no more flights; connections end when their flights have ended, or after `within_s` seconds."""
        self._closing = True
        for attachment, led in tuple(self._led.items()):
            if not led:
                attachment.end()
        if self._by_id:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._empty.wait()
        self._attachments.end_all()

    def _open(self, organization_id: str, key: bytes, lead: Attachment, flight_id: str) -> Boarding | None:
        led = self._led[lead]
        if len(led) >= self._limits.max_led_by_edge:
            return None
        self.led += 1
        flight = Flight(
            id=flight_id,
            organization_id=organization_id,
            key=key,
            lead=lead,
            expires_at=self._clock.monotonic() + self._limits.lifetime_s,
            last_pieces_s=self._limits.last_pieces_s,
        )
        self._by_id[flight_id] = self._by_key[organization_id, key] = led[flight_id] = flight
        return Boarding(flight_id, leads=True)

    def _abandon(self, lead: Attachment) -> None:
        for flight in tuple(self._led[lead].values()):
            self._stop(flight, interruption())
        del self._led[lead]

    def _stop(self, flight: Flight, error: AsahiError) -> None:
        flight.stop(error)
        self.interrupted += isinstance(error, UpstreamInterrupted)
        self.overloaded += isinstance(error, Overloaded)
        self._free(flight)
        self._close(flight)

    def _close(self, flight: Flight) -> None:
        self._unlist(flight)
        del self._by_id[flight.id]
        led = self._led[flight.lead]
        del led[flight.id]
        if not flight.followers:
            self._free(flight)
        if self._closing:
            if not led:
                flight.lead.end()
            if not self._by_id:
                self._empty.set()

    def _unlist(self, flight: Flight) -> None:
        key = flight.organization_id, flight.key
        if self._by_key.get(key) is flight:
            del self._by_key[key]
            self.on_unlisted(*key)

    def _free(self, flight: Flight) -> None:
        self.bytes -= flight.size
        flight.forget_pieces()
