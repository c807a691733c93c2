"""What happens to a completion, in order, whoever it comes from: its provider call, its caller, its clock."""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from asahi.type.v1.chat_pb2 import AnswerDelta


class Signal(Enum):
    """What is no piece of an answer."""

    CALL_ENDED = auto()
    """The provider call under way has its answer, or failed."""
    CANCELLED = auto()
    """The caller gives up."""
    TRY_TIMED_OUT = auto()
    """The call under way has brought nothing for too long."""
    TIME_IS_UP = auto()
    """The caller's time, or the server's limit, has run out."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The caller lets an attempt begin."""

    attempt: int


_LASTING = (Signal.CANCELLED, Signal.TIME_IS_UP)

Event = AnswerDelta | Signal | Confirmed


class Mailbox:
    """Events from many writers for one reader. Writers of pieces wait while it is full."""

    def __init__(self, capacity: int) -> None:
        self._events: deque[Event] = deque()
        self._capacity = capacity
        self._discarding = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether a writer of pieces should wait for `room`."""
        return len(self._events) >= self._capacity and not self._discarding

    def put(self, event: Event) -> None:
        """Adds an event; signals are taken even when it is full."""
        if self._discarding:
            return
        self._events.append(event)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def next(self) -> Event:
        """The next event."""
        while not self._events:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        event = self._events.popleft()
        if self._writer is not None and not self._writer.done() and not self.full:
            self._writer.set_result(None)
        return event

    async def room(self) -> None:
        """Returns when it is not full."""
        while self.full:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    def clear_pieces(self) -> None:
        """Drops the pieces and the end of a call that is over; what the caller or the clock said stays."""
        kept = [event for event in self._events if isinstance(event, Confirmed) or event in _LASTING]
        self._events.clear()
        self._events.extend(kept)

    def discard(self) -> None:
        """Nobody reads any more: drops what is there and what comes."""
        self._discarding = True
        self._events.clear()
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
