"""Runs workflows: each step through the pipeline, as a request of its own that is booked to the caller's.

Read `Workflows.infer` from the top. Steps run as soon as those that they depend on have answered, some at a time; the
answering step runs last. A step that fails ends the workflow: what has been answered is kept by the cache (tier 3),
steps under way are left as callers leave them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any

from prometheus_client import Counter

from asahi.type.v1.chat_pb2 import Answer, AnswerDelta
from asahi.type.v1.usage_pb2 import Usage
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, Cancelled
from asahi_core.money import dollars
from asahi_edge.domain.charge import add_up
from asahi_edge.domain.inference import STEP_TIER, InferenceRequest, InferenceResult, answer_text
from asahi_edge.domain.pipeline import Pipeline
from asahi_edge.domain.ports import Caller
from asahi_edge.domain.records import reuse_record
from asahi_edge.domain.step_request import step_request
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.domain.workflow import Step, Workflow

_AT_ONCE = 8
"""Steps of a workflow that run at the same time."""
_TOKENS = tuple(field.name for field in Usage.DESCRIPTOR.fields if field.name.endswith("_tokens"))
_STEPS = Counter("asahi_workflow_steps", "Steps of workflows by how they ended.", ["end"])


class _Staying:
    """Who waits for a step: nobody who could leave by themselves; the step's task is cancelled."""

    async def left(self) -> None:
        """Never returns."""
        await asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class _Run:
    """A workflow while it runs."""

    request: InferenceRequest
    workflow: Workflow
    started: float
    results: dict[str, InferenceResult] = field(default_factory=dict)
    """By step, of those that have answered."""
    texts: dict[str, str] = field(default_factory=dict)
    """What steps may read: what was given, and the answers that there are."""
    under_way: set[str] = field(default_factory=set)
    """The steps that run."""

    @property
    def spent_nanos(self) -> int:
        return sum(result.charge.cost_nanos for result in self.results.values())


class Workflows:
    """Answers requests, those that are workflows step by step; the others go to the pipeline as they are."""

    def __init__(self, pipeline: Pipeline, usage: UsageDelivery, clock: Clock) -> None:
        self._pipeline = pipeline
        self._usage = usage
        self._clock = clock

    async def infer(self, request: InferenceRequest, caller: Caller) -> InferenceResult:
        """The answer, with what every step cost.

        Raises:
            AsahiError: as `Pipeline.infer`; of a workflow `param` and message name the step.
        """
        if request.workflow is None:
            return await self._pipeline.infer(request, caller)
        run = self._begin(request, request.workflow)
        working = asyncio.create_task(self._all(run))
        leaving = asyncio.ensure_future(caller.left())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Cancelled("The caller left before the answer came.")
            return working.result()
        finally:
            leaving.cancel()
            await _end(working)
            self._record_reused(run)

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[AnswerDelta | InferenceResult, None]:
        """The answering step piece by piece once the others have answered, and the result last.

        Raises:
            AsahiError: as `infer`.
        """
        if request.workflow is None:
            async with aclosing(self._pipeline.stream(request)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        run = self._begin(request, request.workflow)
        step = run.workflow.answering
        try:
            await self._others(run)
            with _as_step(run, step):
                async with aclosing(self._pipeline.stream(_request_for(run, step))) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, InferenceResult):
                            self._note(run, step, piece)
                        else:
                            yield piece
            yield self._result(run)
        finally:
            self._record_reused(run)

    def _begin(self, request: InferenceRequest, workflow: Workflow) -> _Run:
        self._usage.admit()
        return _Run(request, workflow, self._clock.monotonic(), texts=dict(workflow.given))

    async def _all(self, run: _Run) -> InferenceResult:
        await self._others(run)
        await self._answer(run, run.workflow.answering)
        return self._result(run)

    async def _others(self, run: _Run) -> None:
        """Runs all steps but the answering one, each after those that it depends on."""
        answering = run.workflow.answering
        steps = {step.id: step for step in run.workflow.steps if step is not answering}
        order = TopologicalSorter({step.id: step.depends_on for step in steps.values()})
        order.prepare()
        at_once = 1 if run.request.routing.HasField("cost_budget_nanos") else _AT_ONCE  # each may spend what is left
        waiting: list[str] = []
        running: dict[asyncio.Task[None], str] = {}
        try:
            while order.is_active():
                waiting += order.get_ready()
                while waiting and len(running) < at_once:
                    step = steps[waiting.pop(0)]
                    running[asyncio.create_task(self._answer(run, step))] = step.id
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda one: list(running).index(one)):
                    task.result()
                    order.done(running.pop(task))
        finally:
            await _end(*running)

    async def _answer(self, run: _Run, step: Step) -> None:
        with _as_step(run, step):
            self._note(run, step, await self._pipeline.infer(_request_for(run, step), _Staying()))

    def _note(self, run: _Run, step: Step, result: InferenceResult) -> None:
        run.results[step.id] = result
        run.texts[step.id] = answer_text(result.answer.chat)
        _STEPS.labels("cache" if result.cache_tier else "coalesced" if result.coalesced else "provider").inc()

    def _result(self, run: _Run) -> InferenceResult:
        """The answer with all that its steps cost."""
        steps = tuple((step.id, run.results[step.id]) for step in run.workflow.steps)
        results = [result for _, result in steps]
        answering = run.results[run.workflow.answering.id]
        latency_ms = (self._clock.monotonic() - run.started) * 1000
        attempts = tuple(attempt for result in results for attempt in result.attempts)
        hit = all(result.reused for result in results) and any(result.cache_tier for result in results)
        charge = add_up([result.charge for result in results])
        return InferenceResult(
            answer=_with_usage(answering.answer, [result for result in results if not result.reused] or results),
            charge=charge,
            reason=_reason(results, answering),
            cache_tier=STEP_TIER if hit else 0,
            coalesced=all(result.coalesced for result in results),
            age_s=max(result.age_s for result in results),
            bypassed_cache=answering.bypassed_cache,
            latency_ms=latency_ms,
            overhead_ms=max(0.0, latency_ms - sum(attempt.duration_ms for attempt in attempts)),
            attempts=attempts,
            alternatives=answering.alternatives,
            degraded=tuple(dict.fromkeys(name for result in results for name in result.degraded)),
            steps=steps,
            added_max_output_tokens=answering.added_max_output_tokens,
        )

    def _record_reused(self, run: _Run) -> None:
        """One record of all steps that needed no call: what they saved, and whether one of them was the answer."""
        reused = [result for result in run.results.values() if result.reused]
        if not reused:
            return
        answering = run.results.get(run.workflow.answering.id)
        shown = answering if answering is not None and answering.reused else reused[-1]
        record = reuse_record(
            run.request,
            replace(shown, answer=_with_usage(shown.answer, reused), charge=add_up([one.charge for one in reused])),
            self._clock.now(),
        )
        record.answered = shown is answering
        self._usage.deliver_later(record)


def _request_for(run: _Run, step: Step) -> InferenceRequest:
    return step_request(run.request, run.workflow, step, run.texts, run.spent_nanos)


@contextmanager
def _as_step(run: _Run, step: Step) -> Iterator[None]:
    """Makes errors name the step."""
    run.under_way.add(step.id)
    try:
        yield
    except Cancelled:
        raise
    except AsahiError as error:
        _STEPS.labels("failed").inc()
        named = run.workflow.named(step, error)
        others = run.under_way - {step.id}
        named.billed = error.billed or bool(others) or any(not result.reused for result in run.results.values())
        raise named from error
    finally:
        run.under_way.discard(step.id)


def _with_usage(answer: Answer, results: Sequence[InferenceResult]) -> Answer:
    """The answer with the tokens of all of `results`."""
    summed = Answer()
    summed.CopyFrom(answer)
    usages = [result.answer.usage for result in results]
    summed.usage.CopyFrom(Usage(source=max(usage.source for usage in usages)))
    for name in _TOKENS:
        setattr(summed.usage, name, sum(getattr(usage, name) for usage in usages))
    return summed


def _reason(results: Sequence[InferenceResult], answering: InferenceResult) -> str:
    hits = sum(1 for result in results if result.cache_tier)
    shared = sum(1 for result in results if result.coalesced)
    called = len(results) - hits - shared
    spent = dollars(sum(result.charge.cost_nanos for result in results))
    return (
        f"{len(results)} steps: {hits} from cache tier {STEP_TIER}, {shared} shared with requests under way, "
        f"{called} answered by providers for ${spent}. The answering step: {answering.reason}"
    )


async def _end(*tasks: "asyncio.Task[Any]") -> None:
    """Returns when none of `tasks` runs any more, whatever they end with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
