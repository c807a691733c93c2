"""The path of one inference request, from an authenticated caller to an answer with its price.

Callers come in through `domain.limited_pipeline`, which asks the limits first. Read `Pipeline.infer` from the top: see
that usage can be written, look near by, board a flight, wait, answer. What the flight does (look up, complete, settle
and store) is `domain.pilot`, in that order. `Pipeline.stream` is the same, piece by piece.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import CacheHit, SemanticVerdict
from asahi.type.v1.chat_pb2 import AnswerDelta, Api
from asahi_core.clock import Clock
from asahi_core.context import current_call
from asahi_core.errors import BudgetReserved, Cancelled, DeadlineExceeded, InsufficientQuota, UpstreamInterrupted
from asahi_core.prices import Books
from asahi_edge.domain.access import may_use_answer
from asahi_edge.domain.charge import charge_reused
from asahi_edge.domain.flights import Flight, FlightBoard, Landing, wait_until
from asahi_edge.domain.inference import InferenceRequest, InferenceResult
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.pilot import Pilot
from asahi_edge.domain.ports import AnswerCache, Caller
from asahi_edge.domain.records import reuse_record
from asahi_edge.domain.usage import UsageDelivery

_LOST = (Cancelled, DeadlineExceeded, UpstreamInterrupted, InsufficientQuota, BudgetReserved)
"""How a flight ends that took others' request with it: they may have more time, or other budgets."""
_OPENING_IS_SENT = (Api.API_INFER, Api.API_CHAT)
"""Whose callers are sent an opening at once; it goes into the headers of others, which wait for the first piece."""
_RIDES = 3
"""Flights that a request may lose to others' misfortune before its caller hears of it."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A request while it runs."""

    request: InferenceRequest
    started: float
    deadline: float | None


class Pipeline:
    """Answers inference requests: from the cache, or from the model that the router chooses."""

    def __init__(
        self,
        *,
        cache: AnswerCache,
        near: NearCache,
        board: FlightBoard,
        pilot: Pilot,
        usage: UsageDelivery,
        prices: Books,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._near = near
        self._board = board
        self._pilot = pilot
        self._usage = usage
        self._prices = prices
        self._clock = clock

    async def infer(self, request: InferenceRequest, caller: Caller) -> InferenceResult:
        """The answer to `request`. Provider calls are recorded before it is returned; what was free, soon after.

        Raises:
            AsahiError: as the HTTP contract's table says. Nothing is cached then.
            Cancelled: the caller has left.
        """
        self._usage.admit()
        run = _Run(request, self._clock.monotonic(), current_call.get().deadline)
        hit = self._look_near(request)
        if hit is not None:
            return self._answer_from_cache(run, hit)
        landing, own = await self.land(request, caller)
        return self._answer(run, landing, own=own)

    async def land(self, request: InferenceRequest, caller: Caller) -> tuple[Landing, bool]:
        """How a flight with this request aboard ended, and whether this request pays for it.

        Raises:
            AsahiError: as `infer` does.
        """
        deadline = current_call.get().deadline
        for ride in range(_RIDES):
            flight = self._board_flight(request)
            try:
                landing = await _wait(flight, deadline, caller)
                return landing, _pays(request, flight, landing)
            except _LOST:
                if not _was_others_misfortune(flight, request) or ride + 1 == _RIDES:
                    raise
            finally:
                flight.leave(request.passenger_id)
        raise AssertionError("the last ride returns or raises")

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[AnswerDelta | InferenceResult, None]:
        """The answer piece by piece, the first of which says who answers, and the result last.

        A stored answer comes as the result alone. Closing the generator means that the caller has left.

        Raises:
            AsahiError: as `infer` does; after the first piece: what ends the stream.
        """
        self._usage.admit()
        run = _Run(request, self._clock.monotonic(), current_call.get().deadline)
        hit = self._look_near(request)
        if hit is not None:
            yield self._answer_from_cache(run, hit)
            return
        for ride in range(_RIDES):
            flight = self._board_flight(request)
            begun = False
            try:
                async with aclosing(flight.follow(run.deadline)) as pieces:
                    async for piece in pieces:
                        begun = begun or not piece.HasField("opening") or request.api in _OPENING_IS_SENT
                        yield piece
                landing = flight.end.result()
                yield self._answer(run, landing, own=_pays(request, flight, landing))
            except _LOST:
                if begun or not _was_others_misfortune(flight, request) or ride + 1 == _RIDES:
                    raise
            else:
                return
            finally:
                flight.leave(request.passenger_id)

    def _look_near(self, request: InferenceRequest) -> CacheHit | None:
        """The answer, if a copy is here that may be trusted, and the key may see the model that wrote it."""
        if not request.cache.read or not self._cache.attached:
            return None
        hit = self._near.find(request.organization_id, request.fingerprint, request.cache.max_age_s)
        return hit if hit is not None and may_use_answer(request.verdict, hit.entry.answer) else None

    def _board_flight(self, request: InferenceRequest) -> Flight:
        """The flight of an identical request, unless answers were withdrawn since it began; or a new one."""
        flight = self._board.find(request.flight_key) if request.flight_key else None
        if flight is None or flight.ended or self._near.withdrawn_since(request.organization_id, flight.epoch):
            flight = self._pilot.start(request)
        flight.board(request.passenger_id)
        return flight

    def _answer(self, run: _Run, landing: Landing, *, own: bool) -> InferenceResult:
        """What a flight brought, as this request is told it; `own`: this request pays for it."""
        if landing.hit is not None:
            return self._answer_from_cache(run, landing.hit, landing.semantic)
        if landing.charge is None or not own:
            return self._answer_from_flight(run, landing)
        latency_ms = self._elapsed_ms(run)
        return InferenceResult(
            answer=landing.entry.answer,
            charge=landing.charge,
            reason=landing.reason,
            cache_tier=0,
            coalesced=False,
            age_s=0.0,
            bypassed_cache=not run.request.cache.read,
            latency_ms=latency_ms,
            overhead_ms=max(0.0, latency_ms - sum(attempt.duration_ms for attempt in landing.attempts)),
            attempts=landing.attempts,
            alternatives=landing.alternatives,
            degraded=landing.degraded,
            semantic=landing.semantic,
            added_max_output_tokens=landing.added_max_output_tokens,
        )

    def _answer_from_cache(self, run: _Run, hit: CacheHit, semantic: SemanticVerdict | None = None) -> InferenceResult:
        entry = hit.entry
        age_s = max(0.0, self._clock.now().timestamp() - entry.created_at.ToNanoseconds() / 1e9)
        asked = "a similar question" if semantic is not None else "the same request"
        reason = f"{entry.answer.model} answered {asked} {age_s:.0f} s ago; from cache tier {hit.tier}."
        landing = Landing(entry, semantic=semantic)
        return self._reuse(run, landing, f"cache_tier_{hit.tier}", reason, tier=hit.tier, age_s=age_s)

    def _answer_from_flight(self, run: _Run, landing: Landing) -> InferenceResult:
        reason = f"{landing.entry.answer.model} was answering the same request already; one call served both."
        return self._reuse(run, landing, "coalesced", reason, tier=0, age_s=0.0)

    def _reuse(
        self, run: _Run, landing: Landing, technique: str, reason: str, *, tier: int, age_s: float
    ) -> InferenceResult:
        """An answer that costs nothing, because it was given to another request."""
        entry, now = landing.entry, self._clock.now()
        prices = self._prices.of(run.request.organization_id)
        latency_ms = self._elapsed_ms(run)
        result = InferenceResult(
            answer=entry.answer,
            charge=charge_reused(prices, entry.answer, entry.reference_model, technique, now),
            reason=reason,
            cache_tier=tier,
            coalesced=tier == 0,
            age_s=age_s,
            bypassed_cache=False,
            latency_ms=latency_ms,
            overhead_ms=latency_ms if tier else 0.0,
            degraded=landing.degraded,
            semantic=landing.semantic,
        )
        if run.request.step is None:
            self._usage.deliver_later(reuse_record(run.request, result, now))
        return result

    def _elapsed_ms(self, run: _Run) -> float:
        return (self._clock.monotonic() - run.started) * 1000


async def _wait(flight: Flight, deadline: float | None, caller: Caller) -> Landing:
    """The end of the flight, unless the caller leaves or the time runs out before."""
    leaving = asyncio.ensure_future(caller.left())
    try:
        await wait_until(deadline, flight.end, leaving)
        if not flight.ended:
            raise Cancelled("The caller left before the answer came.")
        return flight.end.result()
    finally:
        leaving.cancel()


def _pays(request: InferenceRequest, flight: Flight, landing: Landing) -> bool:
    """Whether the provider's call is this request's to pay."""
    return landing.charge is not None and flight.opened_by == request.passenger_id


def _was_others_misfortune(flight: Flight, request: InferenceRequest) -> bool:
    """Whether the flight died with the edge or the request that led it, so that another may do better."""
    return flight.ended and (flight.foreign or flight.opened_by != request.passenger_id)
