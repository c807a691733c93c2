"""Flights whatever the order in which edges, followers and messages come: a model of every party, driven at random.

What an edge says and what it is told travel in order, but arbitrarily late.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asahi.cache.v1.cache_pb2 import AttachResponse, CacheEntry, FlightDelta, FlightEnd, FollowFlightResponse
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_cache.domain.attachments import Attachment, Attachments
from asahi_cache.domain.flight import Flight
from asahi_cache.domain.flights import FlightLimits, Flights
from asahi_core.clock import ManualClock
from asahi_core.errors import AsahiError, NotFound, UpstreamInterrupted
from services.cache.tests.builders import digest, entry, opening, text_piece

_LIFETIME_S = 900.0
_ORGANIZATIONS = ("org-1", "org-2")
_EDGES = ("edge-1", "edge-2", "edge-3")
_ENDS = ("a flight, stored", "a flight, not stored", "a flight, failed", "an edge", "a connection", "a lifetime")
_organizations = st.sampled_from(_ORGANIZATIONS)
_edges = st.sampled_from(_EDGES)
_picks = st.integers(0, 1_000_000)
_T = TypeVar("_T")


@dataclass(eq=False)
class _Led:
    """A flight as its lead knows it."""

    id: str
    organization_id: str
    edge: "_Edge"
    pieces: list[AnswerDelta] = field(default_factory=list)
    wanted: bool = False
    done: bool = False
    """Whether the lead has said its last word, which may still be under way."""
    gone: bool = False
    """Whether the service has heard it, or cannot any more."""
    stored: bool = False
    answer: CacheEntry = field(default_factory=entry)


@dataclass(eq=False)
class _Edge:
    attachment: Attachment
    reading: "asyncio.Task[None]"
    inbox: deque[AttachResponse | FlightDelta | FlightEnd] = field(default_factory=deque)
    outbox: deque[AttachResponse | FlightDelta | FlightEnd] = field(default_factory=deque)


@dataclass(eq=False)
class _Follower:
    led: _Led
    flight: Flight
    task: "asyncio.Task[None]"
    heard: list[FollowFlightResponse] = field(default_factory=list)
    error: AsahiError | None = None


class FlightsMachine(RuleBasedStateMachine):
    """Several edges of two organisations ask, fetch, follow, leave and die."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        limits = FlightLimits(lifetime_s=_LIFETIME_S, last_pieces_s=3600)
        self.flights = Flights(Attachments(1000), self.clock, "p", limits)
        self.edges: dict[str, _Edge] = {}
        self.led: list[_Led] = []
        self.followers: list[_Follower] = []
        for edge_id in _EDGES:
            self._attach(edge_id)

    @initialize()
    def a_flight_is_followed(self) -> None:
        self.ask("edge-1", "org-1")
        self.follow(0, foreign=False)

    @rule(edge_id=_edges, organization_id=_organizations)
    def ask(self, edge_id: str, organization_id: str) -> None:
        boarding = self.flights.board(organization_id, digest(1), edge_id)
        under_way = [led for led in self._open() if led.organization_id == organization_id and not led.stored]
        if edge_id not in self.edges:
            assert boarding is None
        elif under_way:
            assert boarding is not None
            assert not boarding.leads
            assert [boarding.flight_id] == [led.id for led in under_way]
        else:
            assert boarding is not None
            assert boarding.leads
            assert boarding.flight_id not in {led.id for led in self.led}
            edge = self.edges[edge_id]
            self.led.append(_Led(boarding.flight_id, organization_id, edge))

    @precondition(lambda self: self.led)
    @rule(pick=_picks, foreign=st.sampled_from((False, False, False, True)))
    def follow(self, pick: int, foreign: bool) -> None:
        led = (self._flying() or self.led)[-1 - pick % len(self._flying() or self.led)]
        self._follow(led, "org-3" if foreign else led.organization_id)

    def _follow(self, led: _Led, organization_id: str) -> None:
        try:
            flight = self._run(self._join(organization_id, led.id))
        except NotFound:
            assert led.gone or led.stored or led.organization_id != organization_id
            return
        assert not led.gone
        assert led.organization_id == organization_id
        follower = _Follower(led, flight, self.loop.create_task(asyncio.sleep(0)))
        follower.task = self.loop.create_task(_listen(follower))
        self.followers.append(follower)
        self._settle()

    @precondition(lambda self: self.followers)
    @rule(pick=_picks)
    def leave(self, pick: int) -> None:
        follower = self.followers.pop(pick % len(self.followers))
        self._run(_cancel(follower.task))
        self.flights.leave(follower.flight)
        self._settle()

    @precondition(lambda self: any(not follower.led.done for follower in self.followers))
    @rule(arriving=st.lists(_picks, max_size=3))
    def a_follower_leaves_and_another_comes(self, arriving: list[int]) -> None:
        number, leaving = next(
            (number, follower) for number, follower in enumerate(self.followers) if not follower.led.done
        )
        self.leave(number)
        self.messages_arrive(arriving)
        if not leaving.led.done:
            self._follow(leaving.led, leaving.led.organization_id)

    @precondition(lambda self: self._flying())
    @rule(pick=_picks, count=st.integers(1, 3))
    def receive_from_the_provider(self, pick: int, count: int) -> None:
        led = self._pick(pick)
        for _ in range(count):
            piece = text_piece(f"{len(led.pieces)} ") if led.pieces else opening()
            led.pieces.append(piece)
            if led.wanted:
                led.edge.outbox.append(FlightDelta(flight_id=led.id, delta=piece))

    @rule(edge_id=_edges, pick=_picks, end=st.sampled_from(_ENDS))
    def something_ends(self, edge_id: str, pick: int, end: str) -> None:
        if end == "a lifetime":
            self._let_a_lifetime_pass()
        elif end == "an edge":
            if edge_id in self.edges:
                self.edges[edge_id].attachment.end()
                self._lose(edge_id)
        elif end == "a connection":
            self._attach(edge_id)
        elif self._flying():
            self._end_flight(self._pick(pick), end)
        self._settle()

    @rule(picks=st.lists(_picks, min_size=1, max_size=3))
    def messages_arrive(self, picks: list[int]) -> None:
        for pick in picks:
            queues = [(edge, queue) for edge in self.edges.values() for queue in (edge.inbox, edge.outbox) if queue]
            if queues:
                edge, queue = queues[pick % len(queues)]
                message = queue.popleft()
                if isinstance(message, AttachResponse):
                    self._tell(edge, message)
                else:
                    self._hear(edge, message)
        self._settle()

    @rule()
    def all_messages_arrive(self) -> None:
        while any(edge.inbox or edge.outbox for edge in self.edges.values()):
            self.messages_arrive([0] * sum(len(edge.inbox) + len(edge.outbox) for edge in self.edges.values()))
        for led in self._open():
            if not led.done:
                assert led.wanted == any(follower.led is led for follower in self.followers)

    @invariant()
    def followers_hear_the_beginning_of_the_answer_and_no_end_but_the_true_one(self) -> None:
        for follower in self.followers:
            pieces = [event.delta for event in follower.heard if event.HasField("delta")]
            assert pieces == follower.led.pieces[: len(pieces)]
            last = follower.heard[-1] if follower.heard else FollowFlightResponse()
            if last.HasField("finished"):
                assert follower.led.done
                assert last.finished == follower.led.answer
                assert len(pieces) in (0, len(follower.led.pieces))
            if follower.error is not None:
                assert isinstance(follower.error, UpstreamInterrupted)
                assert follower.led.gone
                assert not (follower.led.stored and not pieces)

    @invariant()
    def followers_of_a_flight_that_is_gone_have_heard_its_end(self) -> None:
        for follower in self.followers:
            if follower.led.gone:
                assert follower.task.done()
            elif not follower.led.done:
                assert not follower.task.done()

    @invariant()
    def nothing_is_kept_of_what_is_gone(self) -> None:
        assert len(self.flights) == sum(1 for led in self._open() if not led.stored or self._is_followed(led))
        assert self.flights.followers == len(self.followers)
        if not self._open() and not self.followers:
            assert self.flights.bytes == 0

    def teardown(self) -> None:
        for edge_id in tuple(self.edges):
            self.edges[edge_id].attachment.end()
            self._lose(edge_id)
        self._settle()
        assert all(follower.task.done() for follower in self.followers)
        for follower in self.followers:
            self.flights.leave(follower.flight)
        assert (len(self.flights), self.flights.bytes, self.flights.followers) == (0, 0, 0)
        self.loop.close()

    def _open(self) -> list[_Led]:
        """Flights that the service has not heard the end of."""
        return [led for led in self.led if not led.gone]

    def _flying(self) -> list[_Led]:
        """Flights that their leads have not ended."""
        return [led for led in self._open() if not led.done]

    def _pick(self, pick: int) -> _Led:
        return self._flying()[pick % len(self._flying())]

    def _is_followed(self, led: _Led) -> bool:
        return any(follower.led is led for follower in self.followers)

    def _end_flight(self, led: _Led, end: str) -> None:
        if end == "a flight, stored":
            self.flights.land(led.organization_id, led.id, led.answer)
            led.stored = True
        led.done = True
        last = FlightEnd(flight_id=led.id)
        if led.wanted and end == "a flight, failed":
            last.failed_status = b"broken"
        elif led.wanted:
            last.finished.CopyFrom(led.answer)
        led.edge.outbox.append(last)

    def _tell(self, edge: _Edge, message: AttachResponse) -> None:
        """What an edge does when it is told something."""
        flight_id = message.wanted_flight_id or message.unwanted_flight_id
        for led in self.led:
            if led.id == flight_id and not led.done:
                led.wanted = bool(message.wanted_flight_id)
                if led.wanted:
                    edge.outbox.extend(FlightDelta(flight_id=led.id, delta=piece) for piece in led.pieces)

    def _hear(self, edge: _Edge, message: FlightDelta | FlightEnd) -> None:
        if isinstance(message, FlightDelta):
            self.flights.publish(edge.attachment, message)
            return
        self.flights.end(edge.attachment, message)
        for led in self.led:
            if led.id == message.flight_id:
                led.gone = True

    def _lose(self, edge_id: str) -> None:
        edge = self.edges.pop(edge_id, None)
        for led in self.led:
            if led.edge is edge:
                led.gone = True

    def _let_a_lifetime_pass(self) -> None:
        self.clock.advance(_LIFETIME_S)
        self.flights.sweep()
        for led in self.led:
            led.gone = True

    def _attach(self, edge_id: str) -> None:
        self._lose(edge_id)
        self.edges[edge_id] = self._run(self._attached(edge_id))

    def _settle(self) -> None:
        self._run(_pause())

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return self.loop.run_until_complete(coroutine)

    async def _join(self, organization_id: str, flight_id: str) -> Flight:
        return self.flights.join(organization_id, flight_id)

    async def _attached(self, edge_id: str) -> _Edge:
        attachment = self.flights.attach(edge_id)
        edge = _Edge(attachment, asyncio.create_task(asyncio.sleep(0)))
        edge.reading = asyncio.create_task(_read(edge))
        await _pause()
        return edge


async def _read(edge: _Edge) -> None:
    async for message in edge.attachment.messages():
        if not message.HasField("heartbeat"):
            edge.inbox.append(message)


async def _listen(follower: _Follower) -> None:
    try:
        async for event in follower.flight.events():
            follower.heard.append(event)
    except AsahiError as error:
        follower.error = error


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _pause() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


TestFlights = FlightsMachine.TestCase
TestFlights.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
