"""A completion: choose, call, retry, fall back, answer.

Read `Completions.run` from top to bottom. A provider call runs in a task of its own (`CallUnderWay`), whose pieces come
through a mailbox together with what the caller says and what the clock says (`Attempts`). When the caller vanishes, the
calls made for it go to the `Orphanage`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from asahi.router.v1.router_pb2 import (
    Attempt,
    AttemptOutcome,
    Completed,
    CompleteRequest,
    CompleteResponse,
    CompleteStart,
    Task,
)
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, Cancelled, DeadlineExceeded, InternalError
from asahi_core.prices import Books
from asahi_router.domain.attempts import Attempts, Ended, TryLimits
from asahi_router.domain.breaker import Breakers
from asahi_router.domain.completion_ports import Choice, Conversations, Decider, Examples, Observations
from asahi_router.domain.estimate import TokenEstimator, prompt_bytes
from asahi_router.domain.experience import Example
from asahi_router.domain.failures import Setback, final_error, interrupted, may_fall_back, may_retry
from asahi_router.domain.features import Features
from asahi_router.domain.orphans import Orphanage
from asahi_router.domain.provider import FailureKind, Provider, ProviderFailure
from asahi_router.domain.retry import RetryPolicy, RetryRules

_BLAMELESS = frozenset({FailureKind.REFUSED})


@dataclass(frozen=True, slots=True)
class CompletionLimits:
    """What the operator allows."""

    tries: TryLimits = field(default_factory=TryLimits)
    retries: RetryRules = field(default_factory=RetryRules)


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
        self._observations = observations
        self._examples = examples
        self._conversations = conversations
        self._orphanage = orphanage
        self._prices = prices
        self._clock = clock
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
        ranking = self._decider.decide(task, explain=start.explain)
        asked_bytes = prompt_bytes(task.prompt)
        attempts = Attempts(
            start, asked_bytes, clock=self._clock, estimator=self._estimator, limits=self._limits.tries, log=self._log
        )
        setbacks: list[Setback] = []
        failed: list[AttemptOutcome] = []
        choice: Choice | None = None
        try:
            yield CompleteResponse(decision=ranking.decision)
            attempts.listen(inbox)
            for position, choice in enumerate(ranking.chain):
                others = position + 1 < len(ranking.chain)
                failures = 0
                while self._admits(choice, start, failed, setbacks):
                    attempt = self._announce(choice, attempts, asked_bytes)
                    yield CompleteResponse(attempt=attempt)
                    if await attempts.confirmed():
                        attempts.begin(self._providers[choice.provider], choice, others=others)
                        while (piece := await attempts.next_piece()) is not None:
                            yield CompleteResponse(delta=piece)
                    ended = await attempts.end(choice)
                    self._learn(choice, ended, asked_bytes)
                    if ended.answer is not None:
                        if ranking.features is not None:
                            self._remember(task, ranking.features, ended)
                        yield CompleteResponse(completed=Completed(answer=ended.answer, outcome=ended.outcome))
                        attempts.delivered()
                        return
                    failed.append(ended.outcome)
                    attempts.delivered()
                    yield CompleteResponse(attempt_failed=ended.outcome)
                    failures += 1
                    pause_s = self._pause_s(choice, ended, setbacks, attempts, failures, others=others)
                    if pause_s is None:
                        break
                    await attempts.pause(pause_s)
            raise final_error(setbacks, explicit=task.routing.mode == RoutingMode.ROUTING_MODE_EXPLICIT)
        except (GeneratorExit, asyncio.CancelledError):
            self._orphanage.settle(task, ranking.decision, failed)
            orphan = attempts.abandon(task, ranking.decision)
            if orphan is not None:
                self._orphanage.adopt(orphan)
            if choice is not None:
                self._breakers.abandoned(choice.provider, choice.model)
            raise
        finally:
            attempts.close()

    def _admits(
        self, choice: Choice, start: CompleteStart, failed: list[AttemptOutcome], setbacks: list[Setback]
    ) -> bool:
        """Whether the model may be asked: its breaker lets it through, and the caller's money is enough."""
        if failed and start.task.routing.HasField("cost_budget_nanos") and choice.max_cost_nanos is not None:
            now = self._clock.now()
            prices = self._prices.of(start.task.organization_id)
            spent = sum(prices.cost_nanos(call.model, call.usage, now) or 0 for call in failed)
            if spent + choice.max_cost_nanos > start.task.routing.cost_budget_nanos:
                return False
        if self._breakers.admit(choice.provider, choice.model):
            return True
        retry_after_s = self._breakers.retry_after_s(choice.provider, choice.model)
        if not any(setback.model == choice.model for setback in setbacks):
            setbacks.append(Setback(choice.model, choice.provider, None, retry_after_s))
        return False

    def _announce(self, choice: Choice, attempts: Attempts, asked_bytes: int) -> Attempt:
        attempt = Attempt(
            attempt=attempts.announce(),
            model=choice.model,
            provider=choice.provider,
            estimated_input_tokens=self._estimator.input_tokens(choice.model, asked_bytes),
            added_max_output_tokens=choice.added_max_output_tokens,
        )
        if choice.max_cost_nanos is not None:
            attempt.max_cost_nanos = choice.max_cost_nanos
        return attempt

    def _learn(self, choice: Choice, ended: Ended, asked_bytes: int) -> None:
        """What the call says about the model, its provider, and how their tokens are counted."""
        provider, model = choice.provider, choice.model
        if ended.answer is not None:
            self._breakers.succeeded(provider, model)
            self._retries.answered(provider)
            outcome = ended.outcome
            first_ms = outcome.first_token_ms if outcome.HasField("first_token_ms") else None
            usage, whole_ms = outcome.usage, outcome.duration_ms
            self._observations.observed(model, first_ms, usage.output_tokens - usage.reasoning_tokens, whole_ms)
            if not ended.estimated:
                answering_ms = whole_ms - (ended.received.sent_after_ms or 0.0)
                self._estimator.learn(
                    model, asked_bytes, usage, ended.received, duration_ms=answering_ms, silent_ms=ended.silent_ms
                )
        elif isinstance(ended.cause, ProviderFailure) and ended.cause.kind not in _BLAMELESS and ended.to_blame:
            self._breakers.failed(provider, model, ended.cause.retry_after_s)
        else:
            self._breakers.abandoned(provider, model)

    def _remember(self, task: Task, features: Features, ended: Ended) -> None:
        """What later decisions learn from the answer."""
        model = ended.outcome.model
        self._conversations.answered(task.organization_id, features.thread, model, features.asked_bytes)
        self._examples.answered(
            Example(
                organization_id=task.organization_id,
                request_id=task.request_id,
                model=model,
                form=features.form,
                embedding=task.prompt_embedding,
                asked_bytes=features.asked_bytes,
                output_tokens=ended.outcome.usage.output_tokens,
                answered_at=self._clock.now(),
                user_id=task.payer.user_id,
            )
        )

    def _pause_s(
        self,
        choice: Choice,
        ended: Ended,
        setbacks: list[Setback],
        attempts: Attempts,
        failures: int,
        *,
        others: bool,
    ) -> float | None:
        """Seconds until the same model is asked again; None: the next one's turn. Raises where nothing may follow."""
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
        setbacks[:] = [setback for setback in setbacks if setback.model != choice.model]
        setbacks.append(Setback(choice.model, choice.provider, cause, retry_after_s))
        if not may_retry(cause):
            return None
        return self._retries.pause_s(choice.provider, failures, retry_after_s, attempts.left_s, others=others)
