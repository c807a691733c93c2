"""A completion: choose, call, retry, fall back, check, answer.

Read `Completions.run` and `_answer` from top to bottom. A provider call runs in a task of its own (`CallUnderWay`),
whose pieces come through a mailbox together with what the caller says and what the clock says (`Attempts`). When the
caller vanishes, the calls made for it go to the `Orphanage`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from asahi.router.v1.router_pb2 import (
    Attempt,
    AttemptOutcome,
    CompleteRequest,
    CompleteResponse,
    CompleteStart,
    Decision,
    Task,
)
from asahi.type.v1.chat_pb2 import Answer
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, Cancelled, DeadlineExceeded, InternalError
from asahi_core.prices import Books
from asahi_router.domain.attempts import Attempts, Ended, TryLimits
from asahi_router.domain.breaker import Breakers
from asahi_router.domain.call_lessons import CallLessons
from asahi_router.domain.cascade import Cascade
from asahi_router.domain.completion_ports import (
    Checks,
    Choice,
    Comparing,
    Conversations,
    Decider,
    Examples,
    Observations,
    Ranking,
)
from asahi_router.domain.estimate import TokenEstimator, prompt_bytes
from asahi_router.domain.examples import Example
from asahi_router.domain.failures import Setback, final_error, interrupted, may_fall_back, may_retry
from asahi_router.domain.orphans import Orphanage
from asahi_router.domain.provider import FailureKind, Provider, ProviderFailure
from asahi_router.domain.retry import RetryPolicy, RetryRules
from asahi_router.domain.signals import Repeats

_OF_THE_PROVIDER = frozenset({FailureKind.TIMED_OUT, FailureKind.UNREACHABLE, FailureKind.UNAUTHORIZED})
"""What a provider's other models are likely to fail of, too: those of others are asked before them."""


@dataclass(frozen=True, slots=True)
class CompletionLimits:
    """What the operator allows."""

    tries: TryLimits = field(default_factory=TryLimits)
    retries: RetryRules = field(default_factory=RetryRules)


@dataclass(slots=True)
class _Run:
    """A completion under way."""

    task: Task
    ranking: Ranking
    asked_bytes: int
    attempts: Attempts
    cascade: Cascade
    began: float
    """By the clock, in seconds."""
    choice: Choice | None = None
    """Who is asked; None: nobody was yet."""
    setbacks: list[Setback] = field(default_factory=list)
    failed: list[AttemptOutcome] = field(default_factory=list)
    """Calls that ended without an answer that was given."""


class Completions:
    """Answers tasks."""

    def __init__(
        self,
        *,
        decider: Decider,
        providers: Mapping[str, Provider],
        breakers: Breakers,
        estimator: TokenEstimator,
        observations: Observations,
        examples: Examples,
        conversations: Conversations,
        comparisons: Comparing,
        checks: Checks,
        orphanage: Orphanage,
        prices: Books,
        clock: Clock,
        random: Callable[[], float],
        log: FilteringBoundLogger,
        limits: CompletionLimits = CompletionLimits(),
    ) -> None:
        """`providers` by id; `random` yields numbers in [0, 1)."""
        self._decider = decider
        self._providers = providers
        self._breakers = breakers
        self._estimator = estimator
        self._lessons = CallLessons(breakers, observations, estimator, log)
        self._examples = examples
        self._conversations = conversations
        self._comparisons = comparisons
        self._checks = checks
        self._orphanage = orphanage
        self._prices = prices
        self._clock = clock
        self._repeats = Repeats(clock)
        self._retries = RetryPolicy(limits.retries, random)
        self._limits = limits
        self._log = log

    async def run(
        self, start: CompleteStart, inbox: AsyncIterator[CompleteRequest]
    ) -> AsyncGenerator[CompleteResponse, None]:
        """The events of a completion, in the order that `RouterService.Complete` promises.

        `inbox` is what the caller says after `start`. Closing the generator, or cancelling the task that reads it,
        means that the caller vanished.

        Raises:
            AsahiError: as the HTTP contract's table says; `Cancelled` after a `cancel`.
        """
        task = start.task
        if start.HasField("comparison"):
            async with aclosing(self._comparisons.run(start, inbox)) as compared:
                async for event in compared:
                    yield event
            return
        ranking = self._decider.decide(task, explain=start.explain, streamed=start.stream)
        asked_bytes = prompt_bytes(task.prompt)
        attempts = Attempts(
            start, asked_bytes, clock=self._clock, estimator=self._estimator, limits=self._limits.tries, log=self._log
        )
        run = _Run(task, ranking, asked_bytes, attempts, Cascade(start, ranking), self._clock.monotonic())
        try:
            yield CompleteResponse(decision=ranking.decision)
            attempts.listen(inbox)
            async with aclosing(self._answer(run)) as events:
                async for event in events:
                    yield event
        except (GeneratorExit, asyncio.CancelledError):
            self._abandon(run)
            raise
        finally:
            attempts.close()

    def unread(self, task: Task, decision: Decision, calls: Sequence[AttemptOutcome]) -> None:
        """Looks after calls that have ended and whose caller may have vanished before it knew."""
        self._orphanage.settle_unless_known(task, decision, calls)

    async def _answer(self, run: "_Run") -> AsyncGenerator[CompleteResponse, None]:
        """What happens after the decision; an answer that was held back is given where no better one comes."""
        task, attempts, cascade = run.task, run.attempts, run.cascade
        explicit = task.routing.mode == RoutingMode.ROUTING_MODE_EXPLICIT
        try:
            path = deque(run.ranking.chain)
            while path:
                choice = run.choice = path.popleft()
                others = bool(path)
                failures = 0
                while self._admits(choice, run):
                    yield CompleteResponse(attempt=self._announce(choice, run))
                    if await attempts.confirmed():
                        attempts.begin(self._providers[choice.provider], choice, others=others)
                        while (piece := await attempts.next_piece()) is not None:
                            yield CompleteResponse(delta=piece)
                    ended = await attempts.end(choice)
                    self._lessons.learn(choice, ended, run.asked_bytes)
                    if ended.answer is not None:
                        self._retries.answered(choice.provider)
                    answer, outcome = ended.answer, ended.outcome
                    if answer is not None:
                        check = self._check(run, choice, answer)
                        better = cascade.better(choice, path) if check else ()
                        path = deque(c for c in better if self._allows(c, run, outcome))
                        if not path:
                            self._remember(run, outcome, check or cascade.signal(choice, answer))
                            completed = cascade.completed(answer, outcome, check, any_better=bool(better))
                            yield CompleteResponse(completed=completed)
                            attempts.delivered()
                            return
                        outcome = cascade.hold(answer, outcome, check)
                    run.failed.append(outcome)
                    attempts.delivered()
                    yield CompleteResponse(attempt_failed=outcome)
                    failures += 1
                    pause_s = self._pause_s(choice, ended, run, failures, others=others)
                    if pause_s is None:
                        if isinstance(ended.cause, ProviderFailure) and ended.cause.kind in _OF_THE_PROVIDER:
                            path = _others_first(path, choice.provider)
                        break
                    await attempts.pause(pause_s)
            if cascade.held is None:
                raise final_error(run.setbacks, explicit=explicit)
        except AsahiError as error:
            if cascade.held is None:
                raise
            self._log.info("cascade_ended", code=error.code)
        self._remember(run, cascade.held.outcome, cascade.held.failed_check)
        yield CompleteResponse(completed=cascade.held)

    def _check(self, run: "_Run", choice: Choice, answer: Answer) -> str:
        """The check that the answer failed, which is learned from; empty: none."""
        check, features = run.cascade.check(choice, answer), run.ranking.features
        if run.cascade.checks and features is not None:
            self._checks.checked(run.task.organization_id, choice.model, features, failed=bool(check))
        return check

    def _abandon(self, run: "_Run") -> None:
        """Looks after the calls of a completion whose caller vanished."""
        decision = run.ranking.decision
        self._orphanage.settle(run.task, decision, run.failed)
        orphan = run.attempts.abandon(run.task, decision)
        if orphan is not None:
            self._orphanage.adopt(orphan)
        if run.choice is not None:
            self._breakers.abandoned(run.choice.provider, run.choice.model)

    def _admits(self, choice: Choice, run: "_Run") -> bool:
        """Whether the model may be asked: its breaker lets it through, and the caller's time and money are enough."""
        if (run.setbacks and not run.attempts.left_s) or not self._affords(choice, run.task, run.failed):
            return False
        if self._breakers.admit(choice.provider, choice.model):
            return True
        retry_after_s = self._breakers.retry_after_s(choice.provider, choice.model)
        if not any(setback.model == choice.model for setback in run.setbacks):
            run.setbacks.append(Setback(choice.model, choice.provider, None, retry_after_s))
        return False

    def _affords(self, choice: Choice, task: Task, calls: Sequence[AttemptOutcome]) -> bool:
        """Whether the caller's money is enough for one more call after `calls`."""
        if not calls or not task.routing.HasField("cost_budget_nanos") or choice.max_cost_nanos is None:
            return True
        now = self._clock.now()
        prices = self._prices.of(task.organization_id)
        spent = sum(prices.cost_nanos(call.model, call.usage, now) or 0 for call in calls)
        return spent + choice.max_cost_nanos <= task.routing.cost_budget_nanos

    def _allows(self, choice: Choice, run: "_Run", outcome: AttemptOutcome) -> bool:
        """Whether time and money are enough to ask a better model after the call that ended with `outcome`."""
        left_ms, routing = run.attempts.left_s * 1000, run.task.routing
        if routing.HasField("latency_budget_ms"):
            left_ms = min(left_ms, routing.latency_budget_ms - (self._clock.monotonic() - run.began) * 1000)
        return choice.total_ms <= left_ms and self._affords(choice, run.task, [*run.failed, outcome])

    def _announce(self, choice: Choice, run: "_Run") -> Attempt:
        attempt = Attempt(
            attempt=run.attempts.announce(),
            model=choice.model,
            provider=choice.provider,
            estimated_input_tokens=self._estimator.input_tokens(choice.model, run.asked_bytes),
            added_max_output_tokens=choice.added_max_output_tokens,
        )
        if choice.max_cost_nanos is not None:
            attempt.max_cost_nanos = choice.max_cost_nanos
        return attempt

    def _remember(self, run: "_Run", outcome: AttemptOutcome, signal: str) -> None:
        """What later decisions learn from the answer; `signal`: what the call says against it."""
        task, features = run.task, run.ranking.features
        if features is None:
            return
        organization_id = task.organization_id
        choice = run.choice
        kept = choice is None or not choice.keeps_when_asked or features.writes_cache or outcome.prompt_cache_added
        self._conversations.answered(organization_id, features.thread, outcome.model, features.asked_bytes, kept=kept)
        before = self._repeats.asked(organization_id, task.payer.user_id, task.prompt, task.request_id)
        if before:
            self._examples.repeated(organization_id, before)
        self._keep(run, outcome, signal)
        for failed, check in run.cascade.failed:
            if failed.attempt != outcome.attempt:
                self._keep(run, failed, check, f"/{failed.attempt}")

    def _keep(self, run: "_Run", outcome: AttemptOutcome, signal: str, name: str = "") -> None:
        """Keeps an answered question; `name`: what its request's id is followed by where the answer was not given."""
        task, features = run.task, run.ranking.features
        if features is None:
            return
        self._examples.answered(
            Example(
                organization_id=task.organization_id,
                request_id=f"{task.request_id}{name}",
                model=outcome.model,
                form=features.form,
                embedding=task.prompt_embedding,
                asked_bytes=features.asked_bytes,
                output_tokens=outcome.usage.output_tokens,
                answered_at=self._clock.now(),
                user_id=task.payer.user_id,
                chance=run.ranking.chance if outcome.model == run.ranking.chain[0].model else None,
                signal=signal,
                shared=task.policy.shares_outcomes,
            )
        )

    def _pause_s(self, choice: Choice, ended: Ended, run: "_Run", failures: int, *, others: bool) -> float | None:
        """Seconds until the same model is asked again; None: the next one's turn. Raises where nothing may follow."""
        if ended.answer is not None:  # which failed its check
            return None
        cause = ended.cause
        if cause is None:
            raise InternalError("The call ended without an answer and without a cause.")
        if isinstance(cause, Cancelled | DeadlineExceeded):
            raise cause
        if ended.begun:
            raise interrupted(choice.model, choice.provider, cause)
        if isinstance(cause, AsahiError) and not may_fall_back(cause):
            raise cause
        retry_after_s = cause.retry_after_s
        run.setbacks[:] = [setback for setback in run.setbacks if setback.model != choice.model]
        run.setbacks.append(Setback(choice.model, choice.provider, cause, retry_after_s))
        if not may_retry(cause):
            return None
        return self._retries.pause_s(choice.provider, failures, retry_after_s, run.attempts.left_s, others=others)


def _others_first(path: Sequence[Choice], provider: str) -> deque[Choice]:
    """The same models, those of `provider` last."""
    return deque(sorted(path, key=lambda choice: choice.provider == provider))
