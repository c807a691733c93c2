"""A flight's calls of providers: from the router's decision by holds, intents and pieces to the landing.

When the last one who waited has left, the answer is still read to its end where that is cheap and the cache can use it,
else the call is given up; either way its cost is recorded.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import CacheEntry, SemanticQuestion, SemanticVerdict
from asahi.router.v1.router_pb2 import Attempt, AttemptOutcome, Task
from asahi.type.v1.chat_pb2 import Answer, AnswerDelta, AnswerOpening
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, Cancelled, InternalError, ServiceUnavailable, UpstreamInterrupted
from asahi_edge.domain.flight_call import FlightCall
from asahi_edge.domain.flights import Flight, FlightBoard, Landing
from asahi_edge.domain.holds import Holds
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.leads import Leads
from asahi_edge.domain.ports import ModelRouter
from asahi_edge.domain.prefixes import Prefixes
from asahi_edge.domain.records import intent_record
from asahi_edge.domain.settlement import Settlement
from asahi_edge.domain.similarity import MOST_CHARACTERS
from asahi_edge.domain.task import task_of
from asahi_edge.domain.usage import UsageDelivery


@dataclass(frozen=True, slots=True)
class FlightLimits:
    """What the operator allows."""

    flight_s: float = 600.0
    """Longest time of a provider call with all its retries."""
    drain_s: float = 5.0
    """How long the answer of a deserted call is still read."""
    drain_nanos: int = 10_000_000
    """What a call may be expected to cost for that."""
    similar_characters: int = MOST_CHARACTERS
    """Most characters of a question that tier 2 is asked."""


@dataclass(frozen=True, slots=True)
class SimilarQuestion:
    """What tier 2 was asked, and what it found."""

    question: SemanticQuestion | None
    verdict: SemanticVerdict | None
    embedding: bytes
    """Of the question; empty: not known."""


class FlightCalls:
    """Has flights answered by providers."""

    def __init__(
        self,
        *,
        router: ModelRouter,
        usage: UsageDelivery,
        holds: Holds,
        settlement: Settlement,
        board: FlightBoard,
        leads: Leads,
        prefixes: Prefixes,
        on_decided: Callable[[float], None],
        on_answered: Callable[[InferenceRequest, Task, Answer], None],
        limits: FlightLimits,
        clock: Clock,
    ) -> None:
        """`on_answered` is told of each answer that a provider gave to somebody who waited for it."""
        self._router = router
        self._usage = usage
        self._holds = holds
        self._settlement = settlement
        self._board = board
        self._leads = leads
        self._prefixes = prefixes
        self._on_decided = on_decided
        self._on_answered = on_answered
        self._limits = limits
        self._clock = clock

    async def make(
        self,
        flight: Flight,
        request: InferenceRequest,
        flight_id: str,
        degraded: tuple[str, ...],
        similar: SimilarQuestion,
    ) -> None:
        """Lets the router choose a model and call its provider.

        Raises:
            AsahiError: there is no answer; what it cost is recorded.
        """
        end: CacheEntry | AsahiError | None = None
        stored = False
        try:
            if flight.deserted:
                raise Cancelled("The last caller left.")
            budgeted = request.is_blocked_by_budget
            task, prospect = task_of(request), None
            task.prompt_embedding = similar.embedding
            if request.prefix:
                prospect = self._prefixes.see(request.organization_id, request.prefix)
                task.prompt.chat.cache_prefix = prospect.is_kept
            async with self._router.complete(
                task, explain=request.explain, stream=request.stream, confirm=budgeted
            ) as completion:
                call = FlightCall(
                    flight,
                    request,
                    flight_id,
                    completion,
                    budgeted=budgeted,
                    degraded=degraded,
                    semantic=similar.question,
                    semantic_verdict=similar.verdict,
                    asked_to_keep=prospect is not None and prospect.is_kept,
                    note="" if prospect is None else prospect.words,
                )
                flight.on_deserted = lambda: self._on_deserted(call)
                flight.on_boarded_again = lambda: self._on_boarded_again(call)
                if flight.deserted:
                    self._on_deserted(call)
                landing = await self._receive(call)
                flight.land(landing)
                if not flight.deserted:
                    self._on_answered(request, task, landing.entry.answer)
            end, stored = landing.entry, call.stored
        except AsahiError as error:
            end = error
            raise
        finally:
            if flight_id:
                self._leads.end(flight_id, end, stored=stored)

    async def _receive(self, call: FlightCall) -> Landing:
        asked_at = self._clock.monotonic()
        try:
            async with aclosing(call.completion.events()) as events:
                async for event in events:
                    match event.WhichOneof("event"):
                        case "decision":
                            self._on_decided(self._clock.monotonic() - asked_at)
                            call.decision = event.decision
                            call.decision.reason = f"{event.decision.reason} {call.note}".rstrip()
                        case "attempt":
                            await self._announce(call, event.attempt)
                        case "attempt_failed":
                            self._note_failure(call, event.attempt_failed)
                        case "delta":
                            self._add(call, event.delta)
                        case "completed":
                            return await self._settlement.land(call, event.completed)
            raise InternalError("The router service ended the call without an answer.")
        except AsahiError as error:
            await self._settlement.fail(call, error)
            error.billed = any(one.HasField("usage") for one in call.failed)
            if call.refused is not None:
                call.refused.billed = error.billed
                raise call.refused from error
            if call.flight.pieces and isinstance(error, ServiceUnavailable):
                interrupted = UpstreamInterrupted("The answer ended before its end: the router went away.")
                interrupted.billed = error.billed
                raise interrupted from error
            raise
        finally:
            call.ended = True
            if call.draining is not None:
                call.draining.cancel()

    async def _announce(self, call: FlightCall, attempt: Attempt) -> None:
        """Before the call costs anything its upper bound is held where a budget blocks, and its intent written."""
        if call.budgeted and not await self._hold(call, attempt):
            return
        call.attempt = attempt
        call.added_max_output_tokens = attempt.added_max_output_tokens
        record = intent_record(call.request, attempt, self._clock.now())
        try:
            self._usage.intend(record, attempt.estimated_input_tokens)
        except AsahiError as error:
            if not call.budgeted:
                raise
            self._holds.release(call.request.organization_id, call.request.request_id, attempt.attempt)
            _refuse(call, attempt, error)
        else:
            if call.budgeted:
                call.completion.confirm(attempt.attempt)

    async def _hold(self, call: FlightCall, attempt: Attempt) -> bool:
        """Whether the call may be made; if not, the router is told to give up."""
        request = call.request
        try:
            held = await self._holds.take(request, attempt)
        except AsahiError as error:
            _refuse(call, attempt, error)
            return False
        if call.given_up:
            call.unmade = attempt.attempt
            self._holds.release(request.organization_id, request.request_id, attempt.attempt)
            return False
        if not held and "billing" not in call.degraded:
            call.degraded = (*call.degraded, "billing")
        return True

    def _note_failure(self, call: FlightCall, outcome: AttemptOutcome) -> None:
        if outcome.attempt == call.unmade:
            return
        call.attempt = None
        call.failed.append(outcome)
        if call.budgeted and not outcome.HasField("usage"):
            self._holds.release(call.request.organization_id, call.request.request_id, outcome.attempt)

    def _add(self, call: FlightCall, piece: AnswerDelta) -> None:
        if not call.flight.pieces:
            self._hand_on(call, AnswerDelta(opening=_opening(call)))
        self._hand_on(call, piece)

    def _hand_on(self, call: FlightCall, piece: AnswerDelta) -> None:
        call.flight.add(piece)
        self._leads.hand_on(call.flight_id, piece)

    def _on_deserted(self, call: FlightCall) -> None:
        """Nobody waits any longer: drains if that is cheap and of use, else gives up."""
        if call.ended:
            return
        decision = call.decision
        worth = call.request.cache.write and decision is not None
        if worth and decision is not None and decision.expected_cost_nanos <= self._limits.drain_nanos:
            loop = asyncio.get_running_loop()
            call.draining = loop.call_later(self._limits.drain_s, self._give_up, call)
        else:
            self._give_up(call)

    def _on_boarded_again(self, call: FlightCall) -> None:
        if call.draining is not None:
            call.draining.cancel()
            call.draining = None

    def _give_up(self, call: FlightCall) -> None:
        if call.ended or call.given_up:
            return
        call.given_up = True
        self._board.remove(call.flight)
        if call.flight_id:
            self._leads.end(call.flight_id, None, stored=False)
        call.completion.cancel()


def _refuse(call: FlightCall, attempt: Attempt, error: AsahiError) -> None:
    """Ends the completion before the announced call is made."""
    call.attempt = None
    call.refused, call.unmade = error, attempt.attempt
    call.completion.cancel()


def _opening(call: FlightCall) -> AnswerOpening:
    opening = AnswerOpening()
    if call.attempt is not None:
        opening.model, opening.provider = call.attempt.model, call.attempt.provider
        opening.added_max_output_tokens = call.attempt.added_max_output_tokens
    if call.decision is not None:
        opening.routing_reason = call.decision.reason
    return opening
