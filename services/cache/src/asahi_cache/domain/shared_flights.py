"""Flights over several replicas: who leads is written down once for all of them, as a lease that its replica renews.

The pieces of a flight stay where its lead is attached; whoever follows goes there. A lease that outlives its flight
costs one try: who could not follow says so, and leads in its place. Without leases each replica has its own flights.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from asahi_cache.domain.flights import Boarding, Flights

LEASE_S = 10.0
"""How long the flights of a replica that vanished seem to be under way, to those who do not try to follow."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A flight that somebody would lead or follow."""

    organization_id: str
    key: bytes
    fingerprint: bytes
    """Of the answer that it brings."""
    lost_flight_id: str = ""
    """A flight that the asker could not follow; empty: none."""
    stored_will_do: bool = True
    """Whether any stored answer makes a flight needless."""
    waited_s: float = 0.0
    """For how long the asker has waited for stores already."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads."""

    flight_id: str
    """Empty: nobody; the answer is stored."""
    address: str
    """Where the flight is followed."""


class Leases(Protocol):
    """Leases of flights, over all replicas."""

    async def take(self, wanted: Wanted, own: Lease) -> Lease | None:
        """Whose flight it is: `own` from now on, unless another's is under way; None: nobody can be asked."""
        ...

    async def renew(self, leases: Mapping[tuple[str, bytes], Lease]) -> None:
        """Prolongs leases by organisation and key, or takes them again if they are lost."""
        ...

    def release(self, organization_id: str, key: bytes, lease: Lease) -> None:
        """Ends a lease if it is still this one."""
        ...


class SharedFlights:
    """The flights of one replica as part of those of all."""

    def __init__(self, flights: Flights, leases: Leases, address: str) -> None:
        """`address`: where edges reach this replica, host:port."""
        self._flights = flights
        self._leases = leases
        self._address = address
        self._held: dict[tuple[str, bytes], Lease] = {}
        self._asking: dict[tuple[str, bytes], asyncio.Future[None]] = {}
        flights.on_unlisted = self._release

    async def board(self, wanted: Wanted, edge_id: str) -> Boarding | None:
        """The identical request that is under way at any replica, else a new flight; None: the edge cannot lead one.

        A boarding without flight: the answer has been stored meanwhile.
        """
        place = wanted.organization_id, wanted.key
        while (asking := self._asking.get(place)) is not None:
            await asyncio.wait((asking,))
        here = self._flights.under_way(*place)
        if here is not None:
            return None if here == wanted.lost_flight_id else Boarding(here, leads=False, address=self._address)
        asked = self._asking[place] = asyncio.get_running_loop().create_future()
        try:
            return await self._take(wanted, edge_id)
        finally:
            del self._asking[place]
            asked.set_result(None)

    async def renew(self) -> None:
        """Prolongs the leases of all flights that are led here."""
        await self._leases.renew(dict(self._held))

    async def _take(self, wanted: Wanted, edge_id: str) -> Boarding | None:
        if not self._flights.can_lead(edge_id):
            return None
        own = Lease(self._flights.next_id(), self._address)
        taken = await self._leases.take(wanted, own)
        if taken is not None and taken != own and self._flights.was_here(taken.flight_id):  # and is no more
            taken = await self._leases.take(replace(wanted, lost_flight_id=taken.flight_id), own)
        if taken is not None and taken != own:
            return Boarding(taken.flight_id, leads=False, address=taken.address)
        boarding = self._flights.board(wanted.organization_id, wanted.key, edge_id, own.flight_id)
        if taken is not None and boarding is not None:
            self._held[wanted.organization_id, wanted.key] = own
        elif taken is not None:
            self._leases.release(wanted.organization_id, wanted.key, own)
        return boarding

    def _release(self, organization_id: str, key: bytes) -> None:
        lease = self._held.pop((organization_id, key), None)
        if lease is not None:
            self._leases.release(organization_id, key, lease)
