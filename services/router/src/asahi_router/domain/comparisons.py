"""Second answers: asks another model what was answered already, compares, and keeps how they differ.

Read `Comparisons.run` from the top. The baseline is asked; where it was what answered, the model that is most worth
knowing more about (`most_telling`). Nobody waits: each call has one try, and what cannot be compared teaches nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from math import erf, sqrt
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from asahi.router.v1.router_pb2 import (
    Attempt,
    AttemptOutcome,
    Completed,
    CompleteRequest,
    CompleteResponse,
    CompleteStart,
    Decision,
    Task,
)
from asahi.type.v1.chat_pb2 import Answer, Prompt
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, NoModelSatisfies, ServiceUnavailable, UnsupportedByModel
from asahi_router.domain.attempts import Attempts, Ended, TryLimits
from asahi_router.domain.breaker import Breakers
from asahi_router.domain.call_lessons import CallLessons
from asahi_router.domain.candidates import Candidate
from asahi_router.domain.completion_ports import Observations
from asahi_router.domain.decision import Ranking
from asahi_router.domain.estimate import TokenEstimator, prompt_bytes
from asahi_router.domain.examples import Example, Pair
from asahi_router.domain.features import Features
from asahi_router.domain.goal import DEFAULT_EPSILON
from asahi_router.domain.judging import (
    LOCAL,
    Alike,
    Code,
    Texts,
    by_grades,
    compared,
    difference,
    grades_in,
    may_be_judged,
    question_text,
    to_grade,
)
from asahi_router.domain.orphans import Orphanage
from asahi_router.domain.provider import Provider

SHADOW, JUDGE = "shadow", "judge"
_BEST = 5.0
_UNKNOWN = 0.5
"""Standard error, of 5, of a quality that no outcome speaks of: what the catalog says holds on the whole."""
_SURE = 0.95


class Decides(Protocol):
    """Chooses models, and draws none."""

    def decide(self, task: Task, *, explain: bool) -> Ranking:
        """The models that may answer `task`; raises AsahiError where none may."""
        ...


class Pairs(Protocol):
    """Keeps what was compared."""

    def paired(self, pair: Pair) -> None:
        """Keeps it, soon."""
        ...


@dataclass(frozen=True, slots=True)
class _Judge:
    """The model that compares."""

    model: str
    """As the policy names it."""
    question: str
    structured: bool
    """Whether it takes a JSON schema."""

    def asked(self, task: Task, first: str, second: str, code: str) -> Task:
        """What it is asked of two answers, on the account of `task`."""
        return Task(
            organization_id=task.organization_id,
            request_id=task.request_id,
            prompt=to_grade(self.question, first, second, code, structured=self.structured),
            routing=Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model=self.model),
            policy=task.policy,
        )


@dataclass(slots=True)
class _Run:
    """A comparison under way."""

    task: Task
    given: Answer
    decision: Decision
    attempts: Attempts
    calls: list[AttemptOutcome] = field(default_factory=list)
    """Those that have ended."""
    asked: Candidate | None = None
    """Who was asked last."""
    ended: Ended | None = None
    """How the last call did; None: it is under way, or there was none."""
    found: float | None = None
    """How much better the second answer is, -1 to 1; None: not told yet, or it cannot be."""


class Comparisons:
    """Compares answers."""

    def __init__(
        self,
        *,
        decider: Decides,
        providers: Mapping[str, Provider],
        breakers: Breakers,
        estimator: TokenEstimator,
        observations: Observations,
        pairs: Pairs,
        alike: Alike,
        orphanage: Orphanage,
        clock: Clock,
        code: Code,
        log: FilteringBoundLogger,
    ) -> None:
        """`code` yields texts that nobody can foresee."""
        self._decider = decider
        self._providers = providers
        self._breakers = breakers
        self._estimator = estimator
        self._lessons = CallLessons(breakers, observations, estimator, log)
        self._pairs = pairs
        self._alike = alike
        self._orphanage = orphanage
        self._clock = clock
        self._code = code
        self._log = log

    async def run(
        self, start: CompleteStart, inbox: AsyncIterator[CompleteRequest]
    ) -> AsyncGenerator[CompleteResponse, None]:
        """The events of a comparison, as `CompleteStart.comparison` promises them.

        Raises:
            NoModelSatisfies: there is nothing to learn, or nobody who may be asked.
            AsahiError: as `Completions.run`.
        """
        task, given, began = start.task, start.comparison.answer, self._clock.now()
        _free(task)
        ranking = self._decider.decide(task, explain=False)
        epsilon = task.policy.epsilon if task.policy.HasField("epsilon") else DEFAULT_EPSILON
        other = most_telling(ranking, given.model, epsilon)
        if other is None:
            raise NoModelSatisfies(f"No second answer beside {given.model}'s would teach anything here.")
        judge = self._judge(task, start.comparison.judge)
        asked_bytes, limits = prompt_bytes(task.prompt), TryLimits()
        attempts = Attempts(
            start, asked_bytes, clock=self._clock, estimator=self._estimator, limits=limits, log=self._log
        )
        run = _Run(task, given, _decision(ranking, other, given.model), attempts)
        try:
            yield CompleteResponse(decision=run.decision)
            attempts.listen(inbox)
            async with aclosing(
                self._compare(run, other, judge, given_is_right=other is not ranking.baseline)
            ) as events:
                async for event in events:
                    yield event
            self._keep(run, ranking.features, start.comparison.judge, began)
            note = "" if run.found is not None else "The answers could not be compared."
            yield CompleteResponse(completed=Completed(outcome=run.calls[-1], note=note))
        except (GeneratorExit, asyncio.CancelledError):
            self._abandon(run)
            raise
        finally:
            attempts.close()

    async def _compare(
        self, run: _Run, other: Candidate, judge: "_Judge | None", *, given_is_right: bool
    ) -> AsyncGenerator[CompleteResponse, None]:
        """Asks, then judges: `run.found`. `given_is_right`: the answer that was given is the baseline's."""
        task = run.task
        async with aclosing(self._call(run, other, task.prompt, SHADOW)) as events:
            async for event in events:
                yield event
        found = compared(task.prompt, run.given, _answer_of(run), given_is_right=given_is_right)
        if not isinstance(found, Texts):
            run.found = found
        elif judge is None:
            run.found = await self._by_meaning(found, given_is_right=given_is_right)
        elif may_be_judged(found):
            texts, grades = (found.given, found.other), list[tuple[int, int] | None]()
            for first, second in (texts, texts[::-1]):
                asking = judge.asked(task, first, second, self._code())
                choice = self._decider.decide(asking, explain=False).chain[0]
                async with aclosing(self._call(run, choice, asking.prompt, JUDGE)) as events:
                    async for event in events:
                        yield event
                grades.append(grades_in(_answer_of(run)))
            run.found = by_grades(grades)

    async def _call(
        self, run: _Run, choice: Candidate, prompt: Prompt, purpose: str
    ) -> AsyncGenerator[CompleteResponse, None]:
        """One call, once: how it ended is in `run`."""
        run.attempts.ask(prompt, purpose)
        if not self._breakers.admit(choice.provider, choice.model):
            retry_after_s = self._breakers.retry_after_s(choice.provider, choice.model)
            raise ServiceUnavailable(f"{choice.model} is left alone after failures.", retry_after_s=retry_after_s)
        run.asked = choice
        attempt = Attempt(
            attempt=run.attempts.announce(),
            model=choice.model,
            provider=choice.provider,
            estimated_input_tokens=self._estimator.input_tokens(choice.model, run.attempts.asked_bytes),
            added_max_output_tokens=choice.added_max_output_tokens,
            purpose=purpose,
        )
        if choice.max_cost_nanos is not None:
            attempt.max_cost_nanos = choice.max_cost_nanos
        yield CompleteResponse(attempt=attempt)
        if await run.attempts.confirmed():
            run.attempts.begin(self._providers[choice.provider], choice, others=False)
            while await run.attempts.next_piece() is not None:
                pass
        run.ended = await run.attempts.end(choice)
        self._lessons.learn(choice, run.ended, run.attempts.asked_bytes)
        run.calls.append(run.ended.outcome)
        run.attempts.delivered()
        yield CompleteResponse(attempt_failed=run.ended.outcome)
        if run.ended.answer is None:
            cause = run.ended.cause
            if isinstance(cause, AsahiError):
                raise cause
            raise ServiceUnavailable(f"{choice.model} gave no second answer: {cause}.")

    async def _by_meaning(self, texts: Texts, *, given_is_right: bool) -> float | None:
        try:
            alike = await self._alike.alike(texts.given, texts.other)
        except AsahiError as error:
            self._log.info("answers_not_compared", code=error.code)
            return None
        return difference(alike=alike, given_is_right=given_is_right)

    def _judge(self, task: Task, name: str) -> _Judge | None:
        """The model that compares; None: none does. Raises where it may not be asked, or cannot read the question."""
        if name == LOCAL:
            return None
        question = question_text(task.prompt)
        if not question:
            raise NoModelSatisfies("The question is not text alone, or too long for a judge.")
        for judge in (_Judge(name, question, structured=True), _Judge(name, question, structured=False)):
            try:
                self._decider.decide(judge.asked(task, "", "", self._code()), explain=False)
            except UnsupportedByModel:
                if not judge.structured:
                    raise
            else:
                return judge
        raise AssertionError("the second returns or raises")

    def _keep(self, run: _Run, features: Features, judge: str, began: datetime) -> None:
        if run.found is None:
            return
        shadow, task = run.calls[0], run.task
        example = Example(
            organization_id=task.organization_id,
            request_id=f"{task.request_id}/{shadow.attempt}",
            model=shadow.model,
            form=features.form,
            embedding=task.prompt_embedding,
            asked_bytes=features.asked_bytes,
            output_tokens=shadow.usage.output_tokens,
            answered_at=began,
            user_id=task.payer.user_id,
        )
        given = run.given
        self._pairs.paired(Pair(example, given.model, given.usage.output_tokens, run.found, judge))

    def _abandon(self, run: _Run) -> None:
        """Looks after the calls of a comparison whose caller vanished."""
        self._orphanage.settle(run.task, run.decision, run.calls)
        orphan = run.attempts.abandon(run.task, run.decision)
        if orphan is not None:
            self._orphanage.adopt(orphan)
        if run.asked is not None:
            self._breakers.abandoned(run.asked.provider, run.asked.model)


def most_telling(ranking: Ranking, given: str, epsilon: float) -> Candidate | None:
    """Whose answer is to be compared with that of `given`; None: nobody's would teach anything.

    The baseline's, where another model answered. Else that of the model that might stand in for it: of those that are
    cheaper, and of which it is neither sure that they may nor that they may not, the one that is expected to save most.
    """
    baseline = ranking.baseline
    if baseline is None:
        return None
    if baseline.model != given:
        return baseline
    usual = baseline.expected_cost_nanos
    if not usual:
        return None
    least = baseline.quality * (1 - epsilon)
    promising: list[tuple[float, str, Candidate]] = []
    for candidate in ranking.may:
        cost = candidate.expected_cost_nanos
        if candidate.served is baseline.served or cost is None or cost >= usual:
            continue
        error = sqrt(_error(candidate) ** 2 + _error(baseline) ** 2)
        chance = 0.5 * (1 + erf((candidate.quality - least) / (error * sqrt(2))))
        if 1 - _SURE < chance < _SURE:
            promising.append(((1 - cost / usual) * chance, candidate.model, candidate))
    return max(promising)[2] if promising else None


def _error(candidate: Candidate) -> float:
    """Standard error of its quality, of 5."""
    return _UNKNOWN if candidate.quality_error is None else max(candidate.quality_error, 0.001)


def _free(task: Task) -> None:
    """Makes of a task one that nobody waits for: any model that the policy allows may answer, however slow or dear."""
    task.routing.CopyFrom(Routing(mode=RoutingMode.ROUTING_MODE_AUTOPILOT))
    task.policy.exploration = 1.0  # so that all that may answer are told


def _decision(ranking: Ranking, other: Candidate, given: str) -> Decision:
    decision = Decision()
    decision.CopyFrom(ranking.decision)
    decision.model, decision.provider = other.model, other.provider
    decision.reason = f"{other.model} was asked what {given} had answered, to learn how their answers compare."
    return decision


def _answer_of(run: _Run) -> Answer:
    if run.ended is None or run.ended.answer is None:
        raise AssertionError("a call without an answer has ended the comparison")
    return run.ended.answer
