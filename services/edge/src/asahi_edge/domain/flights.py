"""Requests under way: identical ones share a flight, which owns the provider call and outlives any single caller.

A flight keeps what has come of its answer, so that who boards late misses nothing. It knows nothing of what it carries
or how it is flown (`domain.pilot`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from asahi.cache.v1.cache_pb2 import CacheEntry, CacheHit, SemanticVerdict
from asahi.router.v1.router_pb2 import AttemptOutcome, Candidate
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import AsahiError, DeadlineExceeded
from asahi_edge.domain.charge import Charge


@dataclass(frozen=True, slots=True)
class Landing:
    """How a flight ended well."""

    entry: CacheEntry
    """The whole answer, and the model that "what it would have cost" is priced at."""
    hit: CacheHit | None = None
    """Set where no provider was asked: the answer was in the cache."""
    charge: Charge | None = None
    """What the request that opened the flight pays; None: somebody else did, at another edge or another time."""
    reason: str = ""
    attempts: tuple[AttemptOutcome, ...] = ()
    alternatives: tuple[Candidate, ...] = ()
    task_type: str = ""
    degraded: tuple[str, ...] = ()
    semantic: SemanticVerdict | None = None
    """What tier 2 found."""
    added_max_output_tokens: int = 0


@dataclass(slots=True, eq=False)
class Flight:
    """One request under way and those who wait for its answer."""

    key: bytes
    """Identity among the flights of this edge; empty: nobody may board it but who opened it."""
    opened_by: str
    """Id of the request that it is booked to."""
    on_deserted: Callable[[], None] = lambda: None
    """Called when the last passenger has left and there is no answer yet."""
    on_boarded_again: Callable[[], None] = lambda: None
    """Called when somebody boards a deserted flight."""
    passengers: set[str] = field(default_factory=set)
    pieces: list[AnswerDelta] = field(default_factory=list)
    """What has come of the answer; the first says who answers."""
    epoch: int = 0
    """The near cache's when it began: what was withdrawn since, its answer may be as old as."""
    foreign: bool = False
    """Whether another edge leads it, and this one only follows."""
    _end: "asyncio.Future[Landing]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _followers: "list[asyncio.Future[None]]" = field(default_factory=list)
    _was_boarded: bool = False

    @property
    def ended(self) -> bool:
        """Whether it has landed or failed."""
        return self._end.done()

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for the answer."""
        return not self.passengers

    def board(self, passenger: str) -> None:
        """Adds somebody who waits for the answer."""
        if not self.passengers and self._was_boarded:
            self.on_boarded_again()
        self.passengers.add(passenger)
        self._was_boarded = True

    def leave(self, passenger: str) -> None:
        """Removes somebody who waited; a second time changes nothing."""
        if passenger in self.passengers:
            self.passengers.remove(passenger)
            if not self.passengers and not self.ended:
                self.on_deserted()

    def add(self, piece: AnswerDelta) -> None:
        """The next piece of the answer."""
        self.pieces.append(piece)
        self._wake()

    def land(self, landing: Landing) -> None:
        """The whole answer is there."""
        if not self._end.done():
            self._end.set_result(landing)
            self._wake()

    def fail(self, error: AsahiError) -> None:
        """There will be no answer."""
        if not self._end.done():
            self._end.set_exception(error)
            self._end.exception()  # nobody need have waited for it
            self._wake()

    @property
    def end(self) -> "asyncio.Future[Landing]":
        """The end of the flight, to be waited for beside other things; never to be cancelled."""
        return self._end

    async def follow(self, deadline: float | None) -> AsyncGenerator[AnswerDelta, None]:
        """All pieces from the first on, as they come, until the flight has ended.

        Raises:
            DeadlineExceeded: `deadline` (event-loop time) passed before the flight ended.
        """
        index = 0
        while True:
            while index < len(self.pieces):
                yield self.pieces[index]
                index += 1
            if self._end.done():
                return
            loop = asyncio.get_running_loop()
            moved: asyncio.Future[None] = loop.create_future()
            timer = None if deadline is None else loop.call_at(deadline, _expire, moved)
            self._followers.append(moved)
            try:
                await moved
            finally:
                if timer is not None:
                    timer.cancel()

    def _wake(self) -> None:
        for moved in self._followers:
            if not moved.done():
                moved.set_result(None)
        self._followers.clear()


async def wait_until(deadline: float | None, *futures: "asyncio.Future[Any]") -> None:
    """Waits for one of `futures`, none of which is cancelled.

    Raises:
        DeadlineExceeded: `deadline` (event-loop time; None: none) passed before.
    """
    if any(future.done() for future in futures):
        return
    loop = asyncio.get_running_loop()
    moved: asyncio.Future[None] = loop.create_future()

    def wake(_future: "asyncio.Future[Any]") -> None:
        if not moved.done():
            moved.set_result(None)

    timer = None if deadline is None else loop.call_at(deadline, _expire, moved)
    for future in futures:
        future.add_done_callback(wake)
    try:
        await moved
    finally:
        for future in futures:
            future.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()


def _expire(moved: "asyncio.Future[None]") -> None:
    if not moved.done():
        moved.set_exception(_too_late())


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The answer did not come within the call's time; allow more or ask for less.")


class FlightBoard:
    """The flights of this edge that identical requests may board."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}

    def find(self, key: bytes) -> Flight | None:
        """The flight with this key, if there is one under way."""
        return self._by_key.get(key)

    def list(self, flight: Flight) -> None:
        """Lets identical requests board `flight`."""
        if flight.key:
            self._by_key[flight.key] = flight

    def remove(self, flight: Flight) -> None:
        """Lets nobody else board; a second time changes nothing."""
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]

    def __len__(self) -> int:
        return len(self._by_key)
