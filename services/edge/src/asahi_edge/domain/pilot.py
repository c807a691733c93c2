"""The flight's side of a request: look up, follow another edge's flight, or call a provider (`flight_calls`).

A flight runs in a task of its own, so that no caller who leaves takes the answer away from those who wait.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from structlog.typing import FilteringBoundLogger

from asahi.cache.v1.cache_pb2 import LookupResponse, SemanticOutcome, SemanticQuestion, SemanticVerdict
from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import Answer
from asahi_core.clock import Clock
from asahi_core.context import current_call
from asahi_core.errors import (
    AsahiError,
    Cancelled,
    DeadlineExceeded,
    InternalError,
    NotFound,
    ServiceUnavailable,
    UpstreamInterrupted,
)
from asahi_core.prices import Books
from asahi_edge.domain.access import may_use_answer
from asahi_edge.domain.budgets import KnownPlans
from asahi_edge.domain.flight_calls import FlightCalls, FlightLimits, SimilarQuestion
from asahi_edge.domain.flights import Flight, FlightBoard, Landing
from asahi_edge.domain.holds import Holds
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.leads import Leads
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.ports import AnswerCache, ModelRouter
from asahi_edge.domain.prefixes import Prefixes
from asahi_edge.domain.settlement import Settlement
from asahi_edge.domain.usage import UsageDelivery

_BOARDING_TRIES = 3
_SIMILAR_TIER = 2
_OF_THE_LEAD = (Cancelled, DeadlineExceeded, InternalError, ServiceUnavailable)
"""What ends a flight at another edge without a word about the request: who asks anew may do better."""


class Pilot:
    """Flies flights."""

    def __init__(
        self,
        *,
        cache: AnswerCache,
        router: ModelRouter,
        usage: UsageDelivery,
        holds: Holds,
        plans: KnownPlans,
        prices: Books,
        near: NearCache,
        board: FlightBoard,
        leads: Leads,
        prefixes: Prefixes,
        on_decided: Callable[[float], None],
        on_answered: Callable[[InferenceRequest, Task, Answer], None],
        limits: FlightLimits,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`on_answered` is told of each answer that a provider gave to somebody who waited for it."""
        self._cache = cache
        self._plans = plans
        self._near = near
        self._board = board
        self._leads = leads
        self._limits = limits
        self._log = log
        self._calls = FlightCalls(
            router=router,
            usage=usage,
            holds=holds,
            settlement=Settlement(cache=cache, usage=usage, prices=prices, near=near, clock=clock),
            board=board,
            leads=leads,
            prefixes=prefixes,
            on_decided=on_decided,
            on_answered=on_answered,
            limits=limits,
            clock=clock,
        )
        self._flying: set[asyncio.Task[None]] = set()

    def start(self, request: InferenceRequest) -> Flight:
        """A new flight, opened by `request`, that identical ones may board. Somebody must board it at once."""
        self._plans.note(request.verdict)
        flight = Flight(key=request.flight_key, opened_by=request.passenger_id, epoch=self._near.epoch)
        self._board.list(flight)
        task = asyncio.create_task(self._fly(flight, request))
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)
        return flight

    async def close(self, timeout_s: float) -> None:
        """Lets flights end by themselves for at most `timeout_s`."""
        if self._flying:
            await asyncio.wait(tuple(self._flying), timeout=timeout_s)

    async def _fly(self, flight: Flight, request: InferenceRequest) -> None:
        call = current_call.get()
        own_limit = asyncio.get_running_loop().time() + self._limits.flight_s
        callers_limit = own_limit if call.deadline is None else call.deadline + self._limits.drain_s + 1.0
        current_call.set(replace(call, deadline=min(own_limit, callers_limit)))
        try:
            await self._look_up_or_call(flight, request)
        except AsahiError as error:
            flight.fail(error)
        except Exception:  # noqa: BLE001 - the last guard: whoever waits is told
            self._log.exception("flight_failed")
            flight.fail(InternalError("Something failed inside Asahi; the request id finds it in the log."))
        finally:
            self._board.remove(flight)

    async def _look_up_or_call(self, flight: Flight, request: InferenceRequest) -> None:
        degraded: tuple[str, ...] = ()
        flight_id = lost_id = ""
        semantic, verdict = self._semantic(request)
        embedding = b""
        if request.cache.read:
            degraded = self._cache.degraded if self._cache.attached else ("cache",)
            asked = semantic if self._cache.attached else None
            for _ in range(_BOARDING_TRIES if self._cache.attached else 0):
                epoch = self._near.epoch
                try:
                    found = await self._cache.lookup(
                        request.organization_id,
                        request.fingerprint,
                        request.cache.max_age_s,
                        flight.key,
                        lost_id,
                        step=request.step is not None,
                        semantic=asked,
                    )
                except AsahiError:
                    degraded = ("cache",)
                    break
                asked, embedding = None, found.embedding or embedding
                if found.HasField("semantic"):
                    verdict = found.semantic
                    if verdict.outcome == SemanticOutcome.SEMANTIC_OUTCOME_UNAVAILABLE:
                        degraded = (*degraded, "semantic")
                if found.HasField("hit") and may_use_answer(request.verdict, found.hit.entry.answer):
                    hit = found.hit
                    if hit.tier == request.exact_tier:
                        ttl_s = hit.ttl.ToNanoseconds() / 1e9
                        self._near.keep(
                            request.organization_id, request.fingerprint, hit.entry, ttl_s, epoch, tier=hit.tier
                        )
                    flight.land(
                        Landing(entry=hit.entry, hit=hit, semantic=verdict if hit.tier == _SIMILAR_TIER else None)
                    )
                    return
                flight_id = found.lead_flight_id
                if flight_id:
                    self._leads.take(flight_id, flight)
                if not found.follow_flight_id:
                    break
                try:
                    await self._follow(flight, request, found)
                except NotFound:
                    lost_id = found.follow_flight_id  # ended between the two calls, or gone with its replica
                else:
                    return
        await self._calls.make(flight, request, flight_id, degraded, SimilarQuestion(semantic, verdict, embedding))

    def _semantic(self, request: InferenceRequest) -> tuple[SemanticQuestion | None, SemanticVerdict | None]:
        """What tier 2 is asked; where it is not, who wants an explanation is told why."""
        question = request.semantic_question(self._limits.similar_characters)
        if isinstance(question, SemanticQuestion):
            return question, None
        return None, SemanticVerdict(detail=question) if question and request.explain else None

    async def _follow(self, flight: Flight, request: InferenceRequest, found: LookupResponse) -> None:
        """Hands on what another edge's flight brings.

        Raises:
            NotFound: there is nothing to follow.
        """
        if flight.deserted:
            raise Cancelled("The last caller left.")
        flight.foreign = True
        flight.on_deserted = self._end_of(flight, asyncio.current_task())
        try:
            async with self._cache.follow(
                request.organization_id, found.follow_flight_id, found.follow_address
            ) as events:
                async for event in events:
                    match event.WhichOneof("event"):
                        case "delta":
                            flight.add(event.delta)
                        case "finished":
                            flight.land(Landing(entry=event.finished))
            if not flight.ended:
                raise UpstreamInterrupted("The edge that was fetching this answer fell silent; send the request again.")
        except asyncio.CancelledError:
            raise Cancelled("The last caller left.") from None
        except NotFound:
            flight.foreign = False
            raise
        except _OF_THE_LEAD as error:
            if isinstance(error, ServiceUnavailable) and not flight.pieces:
                flight.foreign = False
                raise NotFound("The replica of the cache service where the flight was led is gone.") from error
            raise UpstreamInterrupted("The request that fetched this answer was ended; send it again.") from error
        finally:
            flight.on_deserted = lambda: None

    def _end_of(self, flight: Flight, task: "asyncio.Task[object] | None") -> Callable[[], None]:
        def end() -> None:
            self._board.remove(flight)
            if task is not None:
                task.cancel()

        return end
