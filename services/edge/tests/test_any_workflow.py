"""Whatever the graph, and whatever fails, leaves or is slow: costs add up, no step is paid twice, no hold is left."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.policy_pb2 import Budget, BudgetAction
from asahi_core.errors import AsahiError, Cancelled, ProviderError, ServiceUnavailable, UpstreamInterrupted
from asahi_edge.domain.flight_calls import FlightLimits
from asahi_edge.domain.inference import InferenceRequest, InferenceResult
from asahi_edge.domain.workflow import Step, Workflow, require_whole
from services.edge.tests.flying import Listener, Rig, Waiting, asked, flying, savings_sum, settle, soon, until, verdict
from services.edge.tests.neighbours import ScriptedCompletion, reported, text_of
from services.edge.tests.usage_records import name_of

_ERRORS: tuple[AsahiError, ...] = (
    ServiceUnavailable("It does not answer.", retry_after_s=1.0),
    ProviderError("It was refused."),
    UpstreamInterrupted("It broke off."),
)
_MOVES = ("ask", "ask a stream", "leave", *("complete",) * 5, "fail", "fail and bill", "break off", "forget", "pause")


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[Step, ...]:
    """Some steps, each of which reads the question, the document, or some of those before it, in any order."""
    count = draw(st.integers(1, 7))
    steps = []
    for number in range(count):
        needs = tuple(f"s{other}" for other in range(number) if draw(st.booleans()))
        reads = draw(st.lists(st.sampled_from(("document", "prompt", *needs)), max_size=3))
        text = f"{draw(st.integers(0, 3))}: " + " ".join(f"{{{{{name}}}}}" for name in reads)
        steps.append(Step(f"s{number}", text, needs))
    return tuple(Random(draw(st.integers(0, 99))).sample(steps, count))


@dataclass(eq=False)
class _Asked:
    request: InferenceRequest
    task: "asyncio.Task[InferenceResult] | asyncio.Task[None]"
    caller: Waiting
    listener: Listener | None

    @property
    def result(self) -> InferenceResult | None:
        if not self.task.done() or self.task.cancelled() or self.task.exception() is not None:
            return None
        return self.listener.result if self.listener is not None else self.task.result()


@dataclass(eq=False)
class _Scene:
    rig: Rig
    steps: tuple[Step, ...]
    by: Verdict
    asked: list[_Asked] = field(default_factory=list)
    announced: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    """Failed attempts by call."""

    async def move(self, name: str, pick: int) -> None:
        running = [call for call in self.rig.router.calls if not call.cancelled and not call.closed and call.attempt]
        match name:
            case "ask" | "ask a stream":
                self._ask(pick, stream=name == "ask a stream")
            case "leave":
                staying = [one for one in self.asked if not one.task.done()]
                if staying:
                    one = staying[pick % len(staying)]
                    one.caller.go() if pick % 2 and one.listener is None else one.task.cancel()
            case "complete" | "fail" | "fail and bill" | "break off":
                if running:
                    self._end(running[pick % len(running)], name, pick)
            case "forget":
                self.rig.cache.entries.clear()
                self.rig.near.clear()
        await settle()

    async def finish(self) -> None:
        """Every call that is under way is answered, until nobody waits."""
        async with asyncio.timeout(120):
            while not all(one.task.done() for one in self.asked):
                for call in self.rig.router.calls:
                    if call.attempt and not call.cancelled and not call.closed:
                        self._end(call, "complete", 0)
                await settle()
                await asyncio.sleep(0)

    def begin(self, call: ScriptedCompletion) -> None:
        """A call that is opened is decided and announced at once."""
        call.decide(expected_cost_nanos=20_000_000 * (len(self.rig.router.calls) % 2))
        self._announce(call)

    def _announce(self, call: ScriptedCompletion) -> None:
        number = call.task.first_attempt + self.failed[id(call)]
        call.announce(number, most_nanos=1_000_000)
        self.announced["org-1", call.task.request_id, number] += 1

    def _ask(self, pick: int, *, stream: bool) -> None:
        number = len(self.asked)
        whole = asked(f"r-{number}", by=self.by, stream=stream)
        given = {"prompt": f"Question {pick % 2}", "document": f"Text {pick % 3}"}
        request = replace(whole, workflow=Workflow(self.steps, given))
        caller = Waiting()
        if stream:
            listener = self.rig.listen(request)
            self.asked.append(_Asked(request, listener.task, caller, listener))
        else:
            self.asked.append(_Asked(request, self.rig.ask(request, caller), caller, None))

    def _end(self, call: ScriptedCompletion, name: str, pick: int) -> None:
        if call.waits_for_confirmation and call.attempt is not None and call.attempt.attempt not in call.confirmed:
            return
        match name:
            case "complete":
                call.complete(f"<{call.task.prompt.chat.messages[-1].parts[0].text}>")
            case "break off":
                call.fail("provider_error", reported() if pick % 2 else None)
                call.break_off(_ERRORS[pick % len(_ERRORS)])
            case _:
                call.fail("provider_error", reported() if name == "fail and bill" else None)
                self.failed[id(call)] += 1
                self._announce(call)


@settings(max_examples=120, deadline=None)
@given(
    steps=_graphs(),
    moves=st.lists(st.tuples(st.sampled_from(_MOVES), st.integers(0, 1_000)), min_size=5, max_size=40),
    budgeted=st.booleans(),
)
def test_costs_add_up_no_step_is_paid_twice_and_no_hold_is_left(
    steps: tuple[Step, ...], moves: list[tuple[str, int]], *, budgeted: bool
) -> None:
    require_whole(steps, has_document=True)
    asyncio.run(_play(steps, [("ask", 0), *moves], budgeted=budgeted))


async def _play(steps: tuple[Step, ...], moves: list[tuple[str, int]], *, budgeted: bool) -> None:
    by = verdict()
    if budgeted:
        budget = Budget(per="organization", limit_nanos=1, action=BudgetAction.BUDGET_ACTION_BLOCK)
        by.policy.budgets.append(budget)
        by.policy_version = 1
    async with flying(FlightLimits(drain_s=0.002)) as rig:
        scene = _Scene(rig, steps, by)
        rig.router.script = scene.begin
        for name, pick in moves:
            await scene.move(name, pick)
        await scene.finish()
        for call in rig.router.calls:
            call.cancel()
        await soon(rig.pilot.close(30))
        records = await rig.records()
        await until(lambda: not rig.holds.open)
        assert rig.keeper.held == {}
    for one in scene.asked:
        _check(one, steps, [record for record in records if record.request_id == one.request.request_id])
    calls = Counter(name_of(record) for record in records if record.attempt)
    unmade = scene.announced - calls
    assert not calls - scene.announced
    assert set(calls.values()) <= {1}
    assert budgeted or not unmade, "an announced call has no record"
    assert all(map(savings_sum, records))


def _check(one: _Asked, steps: tuple[Step, ...], records: list[UsageRecord]) -> None:
    paid = sum(record.cost_nanos for record in records)
    assert sum(1 for record in records if record.answered) <= 1
    assert sum(1 for record in records if not record.attempt) <= 1
    settled = Counter(record.attempt // 1000 for record in records if record.attempt and not record.error_code)
    assert set(settled.values()) <= {1}, "a step was answered twice"
    result = one.result
    if result is None:
        if not one.task.cancelled():
            error = one.task.exception()
            assert isinstance(error, Cancelled) or (isinstance(error, AsahiError) and "Step 's" in error.message), error
        return
    assert [name for name, _ in result.steps] == [step.id for step in steps]
    assert sum(step.charge.cost_nanos for _, step in result.steps) == result.charge.cost_nanos == paid
    assert sum(record.cost_original_nanos for record in records) == result.charge.original_nanos
    assert sum(nanos for _, nanos in result.charge.savings) == result.charge.saved_nanos
    assert sum(1 for record in records if record.answered) == 1
    assert text_of(result.answer) == _expected(one, steps)


def _expected(one: _Asked, steps: tuple[Step, ...]) -> str:
    """What the answering step must say when every call answers with its question in brackets."""
    workflow = one.request.workflow
    assert workflow is not None
    texts = dict(workflow.given)
    left = list(steps)
    while left:
        step = next(step for step in left if all(name in texts for name in step.depends_on))
        texts[step.id] = f"<{step.filled(texts)}>"
        left.remove(step)
    return texts[workflow.answering.id]
