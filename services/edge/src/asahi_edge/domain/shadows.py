"""Second answers: of a share of answered questions, by policy, another model is asked too, so that routing learns.

The caller has its answer by then, and nothing waits for this. Which model is asked and how the answers compare is the
router's affair; this keeps the money: every call is held against the month's limit and all other budgets before it
begins, noted in the spool, and recorded as overhead of the request. What does not fit beside what is under way is left
out.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from random import Random

from prometheus_client import Counter
from structlog.typing import FilteringBoundLogger

from asahi.router.v1.router_pb2 import Attempt, AttemptOutcome, Comparison, Decision, Task
from asahi.type.v1.chat_pb2 import Answer, Api, FinishReason
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import Clock
from asahi_core.context import current_call
from asahi_core.errors import AsahiError, InsufficientQuota, InternalError, NoModelSatisfies
from asahi_core.prices import Books
from asahi_edge.domain.budgets import KnownPlans
from asahi_edge.domain.charge import charge_overhead
from asahi_edge.domain.holds import Holds
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.ports import AnswerComparer, Completion
from asahi_edge.domain.records import call_record, intent_record
from asahi_edge.domain.usage import UsageDelivery

FIRST_ATTEMPT = 1_000_001
"""What answers a request has lower numbers."""
_NO_JUDGE = "none"
_WHOLE = {FinishReason.FINISH_REASON_STOP, FinishReason.FINISH_REASON_TOOL_CALLS}
_LONGEST_S = 120.0
_SPENT_FOR_S = 60.0
"""How long nothing is asked for an organisation whose money for it is spent: the month is longer."""
_ORGANIZATIONS = 10_000
_QUESTIONS = Counter(
    "asahi_shadow_questions",
    "Answered questions that were drawn to be asked of a second model, by what came of it.",
    ["end"],
)


@dataclass(slots=True)
class _Run:
    """A question that is asked of a second model."""

    request: InferenceRequest
    completion: Completion
    decision: Decision | None = None
    attempt: Attempt | None = None
    """The call under way."""
    unmade: int = 0
    """Number of the announced call that was not let begin; 0: none."""
    refused: AsahiError | None = None
    """Why it was not."""


@dataclass(slots=True)
class _Spent:
    """Organisations whose money for learning is spent."""

    until: dict[str, float] = field(default_factory=dict)
    """By the clock, in seconds."""

    def note(self, organization_id: str, until: float) -> None:
        """Nothing is asked for it before then."""
        if len(self.until) >= _ORGANIZATIONS:
            self.until.clear()
        self.until[organization_id] = until

    def holds(self, organization_id: str, now: float) -> bool:
        """Whether nothing is to be asked for it now."""
        return self.until.get(organization_id, now) > now


class Shadows:
    """Asks for second answers."""

    def __init__(
        self,
        *,
        router: AnswerComparer,
        usage: UsageDelivery,
        holds: Holds,
        plans: KnownPlans,
        prices: Books,
        clock: Clock,
        random: Random,
        most: int,
        log: FilteringBoundLogger,
    ) -> None:
        """`most`: questions under way at the same time."""
        self._router = router
        self._usage = usage
        self._holds = holds
        self._plans = plans
        self._prices = prices
        self._clock = clock
        self._random = random
        self._most = most
        self._log = log
        self._asking: set[asyncio.Task[None]] = set()
        self._runs: list[_Run] = []
        self._spent = _Spent()
        self._closing = False

    def answered(self, request: InferenceRequest, task: Task, answer: Answer) -> None:
        """Takes an answer that was given; draws whether a second one is asked for, after this. `task` is taken over."""
        learning = request.verdict.policy.learning
        if learning.shadow_share <= 0 or not learning.monthly_limit_nanos or learning.judge == _NO_JUDGE:
            return
        if not _is_fit(request, answer) or self._random.random() >= learning.shadow_share:
            return
        if self._closing or len(self._asking) >= self._most:
            _QUESTIONS.labels("busy").inc()
            return
        if self._spent.holds(request.organization_id, self._clock.monotonic()):
            _QUESTIONS.labels("spent").inc()
            return
        asking = asyncio.create_task(self._ask(request, task, Comparison(answer=answer, judge=learning.judge)))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def close(self, timeout_s: float) -> None:
        """Lets what is under way end by itself for at most `timeout_s`, then gives it up; each call is recorded."""
        self._closing = True
        if self._asking:
            await asyncio.wait(self._asking, timeout=timeout_s)
        for run in self._runs:
            run.completion.cancel()
        if self._asking:
            await asyncio.wait(self._asking)

    async def _ask(self, request: InferenceRequest, task: Task, comparison: Comparison) -> None:
        deadline = asyncio.get_running_loop().time() + _LONGEST_S
        current_call.set(replace(current_call.get(), deadline=deadline))
        self._plans.note(request.verdict)
        _bound(task, request)
        end = "failed"
        try:
            async with self._router.compare(task, comparison) as completion:
                run = _Run(request, completion)
                self._runs.append(run)
                try:
                    end = await self._follow(run)
                except AsahiError as error:
                    end = await self._give_up(run, error)
                finally:
                    self._runs.remove(run)
        except AsahiError as error:  # the router cannot be reached
            self._log.info("shadow_failed", code=error.code)
        except Exception:  # noqa: BLE001 - the last guard: nobody waits who could be told
            self._log.exception("shadow_failed")
        _QUESTIONS.labels(end).inc()

    async def _follow(self, run: _Run) -> str:
        """What came of it."""
        async with aclosing(run.completion.events()) as events:
            async for event in events:
                match event.WhichOneof("event"):
                    case "decision":
                        run.decision = event.decision
                    case "attempt":
                        await self._announce(run, event.attempt)
                    case "attempt_failed":
                        await self._settle(run, event.attempt_failed)
                    case "completed":
                        return "compared" if not event.completed.note else "unjudged"
        return "failed"

    async def _announce(self, run: _Run, attempt: Attempt) -> None:
        """Before the call costs anything its upper bound is held, and its intent written."""
        request = run.request
        if not attempt.purpose:
            self._refuse(run, attempt, InternalError("The router is of a version that compares nothing."))
            return
        try:
            await self._holds.take(request, attempt)
        except AsahiError as error:
            self._refuse(run, attempt, error)
            return
        try:
            self._usage.intend(intent_record(request, attempt, self._clock.now()), attempt.estimated_input_tokens)
        except AsahiError as error:
            self._holds.release(request.organization_id, request.request_id, attempt.attempt)
            self._refuse(run, attempt, error)
            return
        run.attempt = attempt
        run.completion.confirm(attempt.attempt)

    def _refuse(self, run: _Run, attempt: Attempt, error: AsahiError) -> None:
        run.unmade, run.refused = attempt.attempt, error
        if isinstance(error, InsufficientQuota):
            self._spent.note(run.request.organization_id, self._clock.monotonic() + _SPENT_FOR_S)
        run.completion.cancel()

    async def _give_up(self, run: _Run, error: AsahiError) -> str:
        """Records the call that was under way, by estimate; what came of all."""
        if run.attempt is not None:
            await self._settle(run, _estimated(run.attempt, error))
        cause = run.refused or error
        if isinstance(cause, InsufficientQuota):
            return "spent"
        if isinstance(cause, NoModelSatisfies):
            return "nothing_to_learn"
        self._log.info("shadow_failed", code=cause.code)
        return "failed"

    async def _settle(self, run: _Run, outcome: AttemptOutcome) -> None:
        """Records a call that has ended: before its hold is anybody's again."""
        if outcome.attempt == run.unmade:
            return
        run.attempt = None
        request, now = run.request, self._clock.now()
        charge = charge_overhead(self._prices.of(request.organization_id), outcome, now)
        record = call_record(request, outcome, charge, reached_caller=False, at=now)
        if run.decision is not None:
            record.task_type, record.routing_reason = run.decision.task_type, run.decision.reason
        await self._usage.settle(record, soon=True)


def _is_fit(request: InferenceRequest, answer: Answer) -> bool:
    """Whether the choice of the model was Asahi's, and the answer is a whole one that could be compared."""
    if request.routing.mode == RoutingMode.ROUTING_MODE_EXPLICIT or request.parts or request.step is not None:
        return False
    return request.api != Api.API_OPENAI_EMBEDDINGS and answer.finish_reason in _WHOLE


def _bound(task: Task, request: InferenceRequest) -> None:
    """Makes of a request's task one whose calls have numbers of their own, and whose cost has a bound."""
    task.first_attempt = FIRST_ATTEMPT
    task.policy.price_needed = True
    task.policy.default_max_output_tokens = request.verdict.policy.default_max_output_tokens
    if task.prompt.HasField("chat"):
        task.prompt.chat.cache_prefix = False


def _estimated(attempt: Attempt, error: AsahiError) -> AttemptOutcome:
    """A call whose end the router could not tell any more."""
    return AttemptOutcome(
        attempt=attempt.attempt,
        model=attempt.model,
        provider=attempt.provider,
        purpose=attempt.purpose,
        outcome=error.code,
        usage=Usage(input_tokens=attempt.estimated_input_tokens, source=UsageSource.USAGE_SOURCE_ESTIMATED),
    )
