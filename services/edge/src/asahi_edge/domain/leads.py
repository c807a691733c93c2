"""The flights that this edge leads for others: what they are told, and when."""

import asyncio

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import AsahiError
from asahi_edge.domain.flights import Flight
from asahi_edge.domain.ports import AnswerCache

_UNKNOWN_FOR_S = 1.0


class Leads:
    """Flights by the id that the cache service gave them."""

    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache
        self._led: dict[str, Flight] = {}
        self._wanted_early: dict[str, asyncio.TimerHandle] = {}

    def take(self, flight_id: str, flight: Flight) -> None:
        """This edge leads `flight` under `flight_id`; `end` must follow."""
        self._led[flight_id] = flight
        if self._was_wanted(flight_id):
            flight.board(flight_id)

    def hand_on(self, flight_id: str, piece: AnswerDelta) -> None:
        """Hands a piece to other edges, if any follow."""
        if self._is_followed(flight_id):
            self._cache.publish(flight_id, piece)

    def end(self, flight_id: str, end: CacheEntry | AsahiError | None, *, stored: bool) -> None:
        """The flight has ended; how is told if anybody follows. Nothing is said if `stored` said it already.

        A second time changes nothing.
        """
        if flight_id not in self._led:
            return
        followed = self._is_followed(flight_id)
        del self._led[flight_id]
        self._cache.end_flight(flight_id, end if followed else None, known=stored and not followed)

    def want(self, flight_id: str) -> None:
        """Another edge follows the flight: hands on what has come, and keeps it going.

        The word may come before the answer to the look-up that gave the id; if that never comes, the flight is ended.
        """
        flight = self._led.get(flight_id)
        if flight is None:
            self._was_wanted(flight_id)
            loop = asyncio.get_running_loop()
            self._wanted_early[flight_id] = loop.call_later(_UNKNOWN_FOR_S, self._disown, flight_id)
        else:
            flight.board(flight_id)
            for piece in flight.pieces:
                self._cache.publish(flight_id, piece)

    def unwant(self, flight_id: str) -> None:
        """No other edge follows the flight any longer, or can: the connection to the cache service is gone."""
        self._was_wanted(flight_id)
        flight = self._led.get(flight_id)
        if flight is not None:
            flight.leave(flight_id)

    def _is_followed(self, flight_id: str) -> bool:
        flight = self._led.get(flight_id)
        return flight is not None and flight_id in flight.passengers

    def _was_wanted(self, flight_id: str) -> bool:
        """Whether others wait for word of an unknown flight; from here on they do not."""
        early = self._wanted_early.pop(flight_id, None)
        if early is not None:
            early.cancel()
        return early is not None

    def _disown(self, flight_id: str) -> None:
        del self._wanted_early[flight_id]
        self._cache.end_flight(flight_id, None)
