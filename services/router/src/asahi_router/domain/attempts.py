"""The attempts of one completion: their numbers, their time, and what happens while each is under way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from asahi.router.v1.router_pb2 import AttemptOutcome, CompleteRequest, CompleteStart, Decision, Task
from asahi.type.v1.chat_pb2 import Answer, AnswerDelta, Prompt
from asahi.type.v1.usage_pb2 import UsageSource
from asahi_core.clock import Clock
from asahi_core.context import current_call
from asahi_core.errors import AsahiError, Cancelled, DeadlineExceeded
from asahi_router.domain.bounds import bounded
from asahi_router.domain.call_under_way import CallUnderWay
from asahi_router.domain.completion_ports import Choice
from asahi_router.domain.estimate import TokenEstimator, prompt_bytes
from asahi_router.domain.failures import Cause, is_billed, outcome_code
from asahi_router.domain.mailbox import Confirmed, Event, Mailbox, Signal
from asahi_router.domain.orphans import Orphan
from asahi_router.domain.provider import FailureKind, Provider, ProviderCall, ProviderFailure, Received

ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class TryLimits:
    """How long a completion and each of its calls may take."""

    whole_s: float = 600.0
    """A completion with all its calls, where its caller sets no deadline."""
    share: float = 0.5
    """Part of what is left that one call may take, to its first piece or whole answer, where another model could."""
    first_piece_s: float = 120.0
    """Longest time to the first piece of a streamed answer."""
    blame_after_s: float = 10.0
    """A call that had less time than this says nothing about its provider when it runs out."""
    pieces: int = 1000
    """Pieces that wait for a slow caller before the provider is made to wait."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended: with `answer`, or with `cause`."""

    outcome: AttemptOutcome
    answer: Answer | None
    cause: Cause | None
    received: Received
    silent_ms: float
    """From its question until its first piece, or its end where none came."""
    begun: bool
    """Whether the caller got a piece of it."""
    to_blame: bool
    """Whether the provider had its full time."""
    estimated: bool
    """Whether the provider did not count the tokens of its answer."""


class Attempts:
    """The attempts of one completion, one at a time."""

    def __init__(
        self,
        start: CompleteStart,
        asked_bytes: int,
        *,
        clock: Clock,
        estimator: TokenEstimator,
        limits: TryLimits,
        log: FilteringBoundLogger,
    ) -> None:
        """`asked_bytes`: the size of the prompt, see `domain.estimate`."""
        self._start = start
        self._prompt = start.task.prompt
        self._asked_bytes = asked_bytes
        self._purpose = ""
        self._clock = clock
        self._estimator = estimator
        self._limits = limits
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._mailbox = Mailbox(limits.pieces)
        self._number = max(start.task.first_attempt, 1) - 1
        self._call: CallUnderWay | None = None
        self._provider = ""
        self._begun = False
        self._try_s = 0.0
        self._cause: Cause | None = None
        self._try_timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._deadline = self._own_deadline()
        self._timer = self._loop.call_at(self._deadline, self._mailbox.put, Signal.TIME_IS_UP)
        self._wanted_by = self._deadline
        routing = start.task.routing
        if routing.HasField("latency_budget_ms"):
            # Nobody waits for it afterwards, though a call under way may still be read to its end.
            budget_s = routing.latency_budget_ms / 1000
            self._wanted_by = min(self._deadline, self._loop.time() + budget_s - _time_to_tell_s(budget_s))

    @property
    def left_s(self) -> float:
        """Seconds that are left for all that follows."""
        return max(0.0, self._wanted_by - self._loop.time())

    def listen(self, inbox: AsyncIterator[CompleteRequest]) -> None:
        """Hears what the caller says from now on."""
        self._listening = asyncio.create_task(self._hear(inbox))

    def ask(self, prompt: Prompt, purpose: str) -> None:
        """What is asked from the next attempt on, in place of the task's question, and what for."""
        self._prompt, self._asked_bytes, self._purpose = prompt, prompt_bytes(prompt), purpose

    @property
    def asked_bytes(self) -> int:
        """Size of what is asked, see `domain.estimate`."""
        return self._asked_bytes

    def announce(self) -> int:
        """The number of the next attempt."""
        self._number += 1
        self._cause = None
        return self._number

    async def confirmed(self) -> bool:
        """Whether the announced attempt may begin; `end` says why not."""
        if not self._start.confirm_attempts:
            return True
        return await self._until(lambda event: isinstance(event, Confirmed) and event.attempt == self._number)

    def begin(self, provider: Provider, choice: Choice, *, others: bool) -> None:
        """Begins the announced attempt; `others`: another model could answer, so that this one has only its share."""
        task, limits = self._start.task, self._limits
        call = ProviderCall(
            request_id=task.request_id,
            attempt=self._number,
            model=choice.model,
            provider_model=choice.provider_model,
            prompt=bounded(self._prompt, choice.added_max_output_tokens),
            stream=self._start.stream,
            max_output_tokens=choice.max_output_tokens,
            keeps_prompt=choice.keeps_prompt,
        )
        self._call = CallUnderWay(provider, call, self._mailbox, self._clock, self._log)
        self._provider = choice.provider
        self._try_s = self.left_s * (limits.share if others else 1.0)
        if self._start.stream:
            self._try_s = min(self._try_s, limits.first_piece_s)
        if self._try_s < self.left_s:
            self._try_timer = self._loop.call_later(self._try_s, self._mailbox.put, Signal.TRY_TIMED_OUT)

    async def next_piece(self) -> AnswerDelta | None:
        """The next piece of the answer; None: the call has ended, or must."""
        while True:
            event = await self._mailbox.next()
            if isinstance(event, AnswerDelta):
                if not self._begun:
                    self._begun = True
                    self._stop_try_timer()
                return event
            if event is Signal.CALL_ENDED:
                return None
            if isinstance(event, Signal) and self._must_end(event):
                return None

    async def end(self, choice: Choice) -> Ended:
        """How the attempt ended; a call that is still under way is ended at once."""
        self._stop_try_timer()
        call = self._call
        outcome = AttemptOutcome(
            attempt=self._number, model=choice.model, provider=choice.provider, purpose=self._purpose
        )
        if call is None:
            return self._ended_before_it_began(outcome)
        outcome.prompt_cache_asked = self._start.task.prompt.chat.cache_prefix and choice.keeps_when_asked
        outcome.prompt_cache_added = choice.keeps_prompt
        if self._cause is not None:
            await call.stop()
        self._mailbox.clear_pieces()
        answer = call.answer if self._cause is None else None
        cause = self._cause or call.failure
        outcome.duration_ms = call.duration_ms
        if call.first_piece_ms is not None:
            outcome.first_token_ms = call.first_piece_ms
        estimated = self._count(outcome, answer, cause, call)
        outcome.outcome = ANSWERED if answer is not None or cause is None else outcome_code(cause)
        to_blame = self._cause is None or self._try_s >= self._limits.blame_after_s
        return Ended(outcome, answer, cause, call.received, call.silent_ms, self._begun, to_blame, estimated)

    def delivered(self) -> None:
        """The caller has been told how the attempt ended."""
        self._call = None

    async def pause(self, seconds: float) -> None:
        """Lets time pass; raises what ends the completion meanwhile."""
        timer = self._loop.call_later(seconds, self._mailbox.put, Signal.TRY_TIMED_OUT)
        try:
            if not await self._until(lambda event: event is Signal.TRY_TIMED_OUT) and isinstance(
                self._cause, AsahiError
            ):
                raise self._cause
        finally:
            timer.cancel()

    def abandon(self, task: Task, decision: Decision) -> Orphan | None:
        """The call that is under way, or that nobody was told the end of; None: there is none."""
        call, self._call = self._call, None
        self._mailbox.discard()
        if call is None:
            return None
        return Orphan(task, decision, self._provider, call, self._asked_bytes, self._purpose)

    def close(self) -> None:
        """Stops listening and all timers."""
        self._timer.cancel()
        self._stop_try_timer()
        if self._listening is not None and not self._listening.cancel() and not self._listening.cancelled():
            self._listening.exception()  # a transport that broke is heard of where its messages are read

    def _own_deadline(self) -> float:
        """A little before the caller's own, so that it still hears how the attempt ended. In loop time."""
        now = self._loop.time()
        callers = current_call.get().deadline
        if callers is None:
            return now + self._limits.whole_s
        left_s = callers - now
        return now + min(self._limits.whole_s, left_s - _time_to_tell_s(left_s))

    async def _hear(self, inbox: AsyncIterator[CompleteRequest]) -> None:
        async for message in inbox:
            match message.WhichOneof("message"):
                case "go_ahead":
                    self._mailbox.put(Confirmed(message.go_ahead.attempt))
                case "cancel":
                    self._mailbox.put(Signal.CANCELLED)
                    return

    async def _until(self, wanted: Callable[[Event], bool]) -> bool:
        """Whether the wanted event came before one that ends everything."""
        while True:
            event = await self._mailbox.next()
            if wanted(event):
                return True
            if isinstance(event, Signal) and event is not Signal.TRY_TIMED_OUT and self._must_end(event):
                return False

    def _must_end(self, signal: Signal) -> bool:
        """Whether `signal` ends the attempt; keeps why."""
        match signal:
            case Signal.CANCELLED:
                self._cause = Cancelled("The call was given up.")
            case Signal.TIME_IS_UP:
                self._cause = DeadlineExceeded("The time that the call may take ran out before the answer was whole.")
            case Signal.TRY_TIMED_OUT if not self._begun:
                self._cause = ProviderFailure(FailureKind.TIMED_OUT, f"nothing came within {self._try_s:.3g} s")
            case _:
                return False
        return True

    def _ended_before_it_began(self, outcome: AttemptOutcome) -> Ended:
        cause = self._cause or Cancelled("The call was given up.")
        outcome.outcome = outcome_code(cause)
        return Ended(outcome, None, cause, Received(), 0.0, begun=False, to_blame=False, estimated=True)

    def _count(self, outcome: AttemptOutcome, answer: Answer | None, cause: Cause | None, call: CallUnderWay) -> bool:
        """Fills in what the provider bills; whether that is an estimate."""
        if answer is not None and answer.usage.source != UsageSource.USAGE_SOURCE_UNSPECIFIED:
            outcome.usage.CopyFrom(answer.usage)
            return False
        if answer is None and not (is_billed(cause) and call.received.sent_after_ms is not None):
            return False
        usage = self._estimator.usage(call.call, self._asked_bytes, call.received, call.silent_ms)
        outcome.usage.CopyFrom(usage)
        if answer is not None:
            answer.usage.CopyFrom(usage)
        return True

    def _stop_try_timer(self) -> None:
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None


def _time_to_tell_s(whole_s: float) -> float:
    """What the caller needs of its time to hear how the call ended."""
    return min(0.25, whole_s * 0.05)
