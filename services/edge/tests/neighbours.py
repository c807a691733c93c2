"""The services behind the edge as tests script them: a router, and a cache with the flights of other edges."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from asahi.cache.v1.cache_pb2 import (
    CacheEntry,
    CacheHit,
    FollowFlightResponse,
    GetConditionResponse,
    GetSemanticReportResponse,
    GetStatsResponse,
    LookupResponse,
    SemanticQuestion,
)
from asahi.router.v1.router_pb2 import (
    Attempt,
    AttemptOutcome,
    Candidate,
    Completed,
    CompleteResponse,
    CountTokensResponse,
    Decision,
    Task,
)
from asahi.type.v1.chat_pb2 import Answer, AnswerDelta, AnswerOpening, ChatAnswer, ContentPart, FinishReason, NativeBody
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, Cancelled, NotFound
from asahi_edge.domain.ports import EVERYTHING, Matching

CHEAP, BASELINE = "gpt-4o-mini", "gpt-4o"
ESTIMATED_INPUT = 9


def reported(input_tokens: int = 10, output_tokens: int = 5) -> Usage:
    """What a provider reported."""
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, source=UsageSource.USAGE_SOURCE_PROVIDER)


def answer(
    text: str,
    *,
    model: str = CHEAP,
    reason: FinishReason.ValueType = FinishReason.FINISH_REASON_STOP,
    usage: Usage | None = None,
) -> Answer:
    """A whole answer in Asahi's own form."""
    chat = ChatAnswer(parts=[ContentPart(text=text)])
    return Answer(chat=chat, model=model, provider="openai", finish_reason=reason, usage=usage or reported())


def native_answer(body: bytes, *, model: str = CHEAP, usage: Usage | None = None) -> Answer:
    """A whole answer in a provider's protocol."""
    reason = FinishReason.FINISH_REASON_STOP
    native = NativeBody(body=body)
    return Answer(native=native, model=model, provider="openai", finish_reason=reason, usage=usage or reported())


def text_of(given: Answer) -> str:
    return "".join(part.text for part in given.chat.parts)


class ScriptedCompletion:
    """A completion whose events the test says. `cancel` ends it as the router does, unless told to ignore it."""

    def __init__(self, task: Task, *, explain: bool, stream: bool, confirm: bool = False) -> None:
        self.task = task
        self.explain = explain
        self.stream = stream
        self.waits_for_confirmation = confirm
        self.confirmed: list[int] = []
        self.cancelled = False
        self.closed = False
        self.ignores_cancel = False
        self.attempt: Attempt | None = None
        self._events: asyncio.Queue[CompleteResponse | AsahiError | None] = asyncio.Queue()

    async def events(self) -> AsyncGenerator[CompleteResponse, None]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, AsahiError):
                raise event
            yield event

    def confirm(self, attempt: int) -> None:
        self.confirmed.append(attempt)

    def cancel(self) -> None:
        self.cancelled = True
        if self.ignores_cancel:
            return
        if self.attempt is not None:
            begun = not self.waits_for_confirmation or self.attempt.attempt in self.confirmed
            spent = Usage(input_tokens=8, output_tokens=2, source=UsageSource.USAGE_SOURCE_ESTIMATED)
            self.fail("cancelled", spent if begun else None)
        self.break_off(Cancelled("The call was given up."))

    def decide(self, model: str = CHEAP, *, expected_cost_nanos: int = 1_000, reference: str = BASELINE) -> None:
        candidates = [Candidate(model=model, provider="openai")] if self.explain else []
        decision = Decision(
            model=model,
            provider="openai",
            reason=f"{model} is the cheapest that is good enough.",
            expected_cost_nanos=expected_cost_nanos,
            reference_model=reference,
            task_type="chat",
            candidates=candidates,
        )
        self._events.put_nowait(CompleteResponse(decision=decision))

    def announce(
        self,
        number: int = 1,
        model: str = CHEAP,
        *,
        most_nanos: int = 10_000_000,
        added: int = 0,
        purpose: str = "",
    ) -> None:
        self.attempt = Attempt(
            attempt=number,
            model=model,
            provider="openai",
            estimated_input_tokens=ESTIMATED_INPUT,
            max_cost_nanos=most_nanos,
            added_max_output_tokens=added,
            purpose=purpose,
        )
        self._events.put_nowait(CompleteResponse(attempt=self.attempt))

    def announce_unbounded(self) -> None:
        """A call whose price is not known is about to be made."""
        self.attempt = Attempt(attempt=1, model=CHEAP, provider="openai")
        self._events.put_nowait(CompleteResponse(attempt=self.attempt))

    def fail(self, outcome: str, usage: Usage | None = None) -> None:
        """The provider call under way failed; billed for `usage`."""
        self._events.put_nowait(CompleteResponse(attempt_failed=self._outcome(outcome, usage)))
        self.attempt = None

    def say(self, text: str) -> None:
        self._events.put_nowait(CompleteResponse(delta=AnswerDelta(text=text)))

    def pass_on(self, piece: AnswerDelta) -> None:
        self._events.put_nowait(CompleteResponse(delta=piece))

    def complete(self, given: str | Answer) -> None:
        whole = answer(given) if isinstance(given, str) else given
        outcome = self._outcome("answered", None)
        self.attempt = None
        self._events.put_nowait(CompleteResponse(completed=Completed(answer=whole, outcome=outcome)))

    def give_after_all(self, number: int, text: str, check: str) -> None:
        """The answer of call `number`, which failed `check` and was held back, is given as it is."""
        outcome = AttemptOutcome(attempt=number, model=CHEAP, provider="openai", outcome="answered")
        completed = Completed(answer=answer(text), outcome=outcome, failed_check=check, note="It is given as it is.")
        self._events.put_nowait(CompleteResponse(completed=completed))

    def answer(self, text: str, *, model: str = CHEAP) -> None:
        """All that happens where nothing goes wrong."""
        self.decide(model)
        self.announce(1, model)
        self.complete(answer(text, model=model))

    def break_off(self, error: AsahiError) -> None:
        """The call to the router ends with `error`."""
        self._events.put_nowait(error)

    def end(self) -> None:
        """The call to the router ends as if all were well."""
        self._events.put_nowait(None)

    def _outcome(self, outcome: str, usage: Usage | None) -> AttemptOutcome:
        assert self.attempt is not None
        return AttemptOutcome(
            attempt=self.attempt.attempt,
            model=self.attempt.model,
            provider=self.attempt.provider,
            outcome=outcome,
            duration_ms=3.0,
            usage=usage,
            purpose=self.attempt.purpose,
        )


class ScriptedRouter:
    """Hands each completion to `script`, if there is one, and to the test in `calls`."""

    def __init__(self) -> None:
        self.calls: list[ScriptedCompletion] = []
        self.script: Callable[[ScriptedCompletion], None] = lambda _: None
        self.failure: AsahiError | None = None
        self.count = CountTokensResponse(input_tokens=12, model=CHEAP, provider="openai", estimated=True)
        self.decided: list[Task] = []
        self.counted: list[Task] = []
        self.opening = asyncio.Event()
        self.opening.set()
        """Cleared: completions open no sooner than it is set."""
        self.closing = asyncio.Event()
        self.closing.set()
        """Cleared: completions close no sooner than it is set."""

    async def decide(self, task: Task) -> Decision:
        if self.failure is not None:
            raise self.failure
        self.decided.append(task)
        return Decision(
            model=CHEAP,
            reference_model=BASELINE,
            expected_cost_nanos=1000,
            max_cost_nanos=task.prompt.ByteSize(),
            reason="It is the cheapest.",
            expected_output_tokens=10,
            max_output_tokens=100,
        )

    async def count_tokens(self, task: Task) -> CountTokensResponse:
        if self.failure is not None:
            raise self.failure
        self.counted.append(task)
        return self.count

    @asynccontextmanager
    async def complete(
        self, task: Task, *, explain: bool, stream: bool, confirm: bool
    ) -> AsyncIterator[ScriptedCompletion]:
        completion = ScriptedCompletion(task, explain=explain, stream=stream, confirm=confirm)
        self.calls.append(completion)
        await self.opening.wait()
        if self.failure is not None:
            raise self.failure
        self.script(completion)
        try:
            yield completion
        finally:
            await self.closing.wait()
            completion.closed = True


@dataclass(eq=False)
class ForeignFlight:
    """A flight that another edge leads; the test says what happens in it."""

    id: str
    followers: int = 0
    _events: "asyncio.Queue[FollowFlightResponse | AsahiError | None]" = field(default_factory=asyncio.Queue)

    def open(self, model: str = CHEAP) -> None:
        opening = AnswerOpening(model=model, provider="openai", routing_reason="It is the cheapest.")
        self._events.put_nowait(FollowFlightResponse(delta=AnswerDelta(opening=opening)))

    def say(self, text: str) -> None:
        self._events.put_nowait(FollowFlightResponse(delta=AnswerDelta(text=text)))

    def finish(self, entry: CacheEntry) -> None:
        self._events.put_nowait(FollowFlightResponse(finished=entry))
        self._events.put_nowait(None)

    def fail(self, error: AsahiError) -> None:
        self._events.put_nowait(error)

    def end(self) -> None:
        self._events.put_nowait(None)

    async def events(self) -> AsyncGenerator[FollowFlightResponse, None]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, AsahiError):
                raise event
            yield event


class MemoryCache:
    """Answers in memory; flights that this edge leads, and those of other edges as the test scripts them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.attached = True
        self.degraded: tuple[str, ...] = ()
        self.failure: AsahiError | None = None
        self.store_failure: AsahiError | None = None
        self.replying = asyncio.Event()
        self.replying.set()
        """Cleared: lookups are answered no sooner than it is set."""
        self.entries: dict[tuple[str, bytes], CacheEntry] = {}
        self.tier = 1
        self.ttl_s = 3600.0
        self.foreign: list[ForeignFlight] = []
        """Flights that the next lookups are told to follow, one each."""
        self.known: dict[str, ForeignFlight] = {}
        """Flights that can be followed; others have ended already."""
        self.when_not_found: Callable[[], None] = lambda: None
        self.led: list[str] = []
        self.lookups = 0
        self.lost: list[str] = []
        """The flights that lookups said were lost; empty where none was."""
        self.asked: list[SemanticQuestion | None] = []
        """What lookups asked of tier 2."""
        self.learnt: list[SemanticQuestion | None] = []
        """What `store` was given for tier 2."""
        self.similar: LookupResponse | None = None
        """What tier 2 finds."""
        self.reports: dict[tuple[str, str], bool] = {}
        self.parts: list[GetConditionResponse.Part] = []
        self.measured = GetSemanticReportResponse()
        self.ttls: list[float | None] = []
        """What `store` was told."""
        self.published: list[tuple[str, AnswerDelta]] = []
        self.ended: list[tuple[str, CacheEntry | AsahiError | None]] = []

    def put(self, organization_id: str, fingerprint: bytes, entry: CacheEntry) -> None:
        self.entries[organization_id, fingerprint] = entry

    def fly_elsewhere(self, flight_id: str, *, known: bool = True) -> ForeignFlight:
        """Another edge leads a flight of the next question."""
        flight = ForeignFlight(flight_id)
        self.foreign.append(flight)
        if known:
            self.known[flight_id] = flight
        return flight

    async def lookup(
        self,
        organization_id: str,
        fingerprint: bytes,
        max_age_s: float | None,
        flight_key: bytes,
        lost_flight_id: str = "",
        *,
        step: bool = False,
        semantic: SemanticQuestion | None = None,
    ) -> LookupResponse:
        self.lookups += 1
        self.lost.append(lost_flight_id)
        self.asked.append(semantic)
        await self.replying.wait()
        if self.failure is not None:
            raise self.failure
        entry = self.entries.get((organization_id, fingerprint))
        if entry is None and semantic is not None and self.similar is not None:
            return self.similar
        if entry is not None and not self._is_too_old(entry, max_age_s):
            hit = CacheHit(tier=3 if step else self.tier, entry=entry)
            hit.ttl.FromNanoseconds(int(self.ttl_s * 1e9))
            return LookupResponse(hit=hit)
        if not flight_key:
            return LookupResponse()
        if self.foreign:
            return LookupResponse(follow_flight_id=self.foreign.pop(0).id)
        self.led.append(f"led-{len(self.led) + 1}")
        return LookupResponse(lead_flight_id=self.led[-1])

    async def store(
        self,
        organization_id: str,
        fingerprint: bytes,
        entry: CacheEntry,
        ttl_s: float | None,
        flight_id: str,
        *,
        semantic: SemanticQuestion | None = None,
    ) -> float:
        self.learnt.append(semantic)
        if self.store_failure is not None:
            raise self.store_failure
        kept = CacheEntry()
        kept.CopyFrom(entry)
        self.entries[organization_id, fingerprint] = kept
        self.ttls.append(ttl_s)
        return self.ttl_s

    async def report_hit(self, organization_id: str, request_id: str, *, correct: bool) -> bool:
        return self.reports.setdefault((organization_id, request_id), correct) == correct

    async def semantic_report(self, organization_id: str, false_hit_bound: float) -> GetSemanticReportResponse:
        return self.measured

    async def erase_evidence(self, organization_id: str) -> int:
        return len([key for key in self.reports if key[0] == organization_id])

    async def condition(self) -> list[GetConditionResponse.Part]:
        return self.parts

    @asynccontextmanager
    async def follow(
        self, organization_id: str, flight_id: str, address: str
    ) -> AsyncIterator[AsyncIterator[FollowFlightResponse]]:
        flight = self.known.get(flight_id)
        if flight is None:
            self.when_not_found()
            raise NotFound("No such flight is under way; look the answer up again.")
        flight.followers += 1
        events = flight.events()
        try:
            yield events
        finally:
            flight.followers -= 1
            await events.aclose()

    def publish(self, flight_id: str, piece: AnswerDelta) -> None:
        self.published.append((flight_id, piece))

    def end_flight(self, flight_id: str, end: CacheEntry | AsahiError | None, *, known: bool = False) -> None:
        if not known:
            self.ended.append((flight_id, end))

    async def invalidate(self, organization_id: str, matching: Matching = EVERYTHING) -> int:
        dropped = [key for key in self.entries if key[0] == organization_id]
        for key in dropped:
            del self.entries[key]
        return len(dropped)

    async def erase_replays(self, organization_id: str, user_id: str = "") -> int:
        return 0

    async def stats(self, organization_id: str) -> GetStatsResponse:
        kept = [entry for (owner, _), entry in self.entries.items() if owner == organization_id]
        return GetStatsResponse(entries=len(kept), bytes=sum(entry.ByteSize() for entry in kept))

    def _is_too_old(self, entry: CacheEntry, max_age_s: float | None) -> bool:
        age_s = self._clock.now().timestamp() - entry.created_at.ToNanoseconds() / 1e9
        return max_age_s is not None and age_s > max_age_s
