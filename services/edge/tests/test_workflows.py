"""What a workflow promises: each step as a request of its own, kept by what it was made from, costs that add up."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, FinishReason, Message, Role
from asahi.type.v1.policy_pb2 import Budget, BudgetAction, Policy
from asahi_core.context import current_call
from asahi_core.errors import (
    Cancelled,
    DeadlineExceeded,
    InsufficientQuota,
    InvalidRequest,
    ProviderError,
    ServiceUnavailable,
)
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.workflow import Step, Workflow, require_whole
from services.edge.tests.flying import Rig, Waiting, asked, flying, limit, price, savings_sum, soon, until, verdict
from services.edge.tests.neighbours import BASELINE, CHEAP, ScriptedCompletion, answer, reported, text_of

_PLAN = (
    Step("facts", "List the facts of {{document}}"),
    Step("tone", "Describe the tone of {{document}}"),
    Step("question", "Restate: {{prompt}}"),
    Step("both", "Join {{facts}} and {{tone}}.", ("facts", "tone")),
    Step("answer", "{{question}} by {{both}}", ("question", "both")),
)


def workflow(
    *steps: Step, request_id: str = "r-1", prompt: str = "Who?", document: str = "A text.", stream: bool = False
) -> InferenceRequest:
    """A workflow about a document."""
    chosen = steps or _PLAN
    return replace(
        asked(request_id, prompt, stream=stream),
        workflow=Workflow(chosen, {"prompt": prompt, "document": document}),
        document_id="contract",
    )


def question_of(call: ScriptedCompletion) -> str:
    """What a provider is asked."""
    return question_of_task(call.task)


def question_of_task(task: Task) -> str:
    """What is asked of the router."""
    return "".join(part.text for part in task.prompt.chat.messages[-1].parts)


def answering(rig: Rig) -> list[str]:
    """Has every call answered by its own question in brackets; what was asked, in order."""
    questions: list[str] = []

    def script(call: ScriptedCompletion) -> None:
        questions.append(question_of(call))
        call.decide()
        call.announce(call.task.first_attempt)
        call.complete(f"[{question_of(call)}]")

    rig.router.script = script
    return questions


async def test_each_step_reads_what_it_refers_to_and_the_last_answers() -> None:
    async with flying() as rig:
        questions = answering(rig)
        result = await soon(rig.ask(workflow()))
        records = await rig.records()
    assert set(questions[:3]) == {"List the facts of A text.", "Describe the tone of A text.", "Restate: Who?"}
    assert questions[3] == "Join [List the facts of A text.] and [Describe the tone of A text.]."
    assert text_of(result.answer) == f"[[Restate: Who?] by [{questions[3]}]]"
    assert [name for name, _ in result.steps] == [step.id for step in _PLAN]
    assert result.charge.cost_nanos == sum(step.charge.cost_nanos for _, step in result.steps) == 5 * price(CHEAP)
    assert result.charge.original_nanos == 5 * price(BASELINE)
    assert sum(nanos for _, nanos in result.charge.savings) == result.charge.original_nanos - result.charge.cost_nanos
    assert result.answer.usage.input_tokens == 5 * reported().input_tokens
    assert (result.cache_tier, result.coalesced) == (0, False)
    assert sum(record.cost_nanos for record in records) == result.charge.cost_nanos
    assert sorted(record.attempt for record in records) == [1, 1001, 2001, 3001, 4001]
    assert [record.attempt for record in records if record.answered] == [4001]
    assert all(map(savings_sum, records))


async def test_the_same_workflow_again_costs_nothing_and_is_one_hit() -> None:
    async with flying() as rig:
        questions = answering(rig)
        first = await soon(rig.ask(workflow()))
        again = await soon(rig.ask(workflow(request_id="r-2")))
        records = [record for record in await rig.records() if record.request_id == "r-2"]
    assert len(questions) == 5
    assert again.answer.chat == first.answer.chat
    assert (again.cache_tier, again.charge.cost_nanos) == (3, 0)
    assert again.charge.savings == (("cache_tier_3", 5 * price(BASELINE)),)
    (record,) = records
    assert (record.attempt, record.cache_tier, record.answered) == (0, 3, True)
    assert record.cost_original_nanos == 5 * price(BASELINE)
    assert record.reused_usage.input_tokens == 5 * reported().input_tokens
    assert savings_sum(record)


@pytest.mark.parametrize(
    ("changed", "runs_again"),
    [
        ({"document": "Another text."}, {"facts", "tone", "both", "answer"}),
        ({"prompt": "When?"}, {"question", "answer"}),
    ],
)
async def test_exactly_the_steps_run_again_that_read_what_changed(
    changed: dict[str, Any], runs_again: set[str]
) -> None:
    async with flying() as rig:
        answering(rig)
        first = dict((await soon(rig.ask(workflow()))).steps)
        result = await soon(rig.ask(workflow(request_id="r-2", **changed)))
        records = [record for record in await rig.records() if record.request_id == "r-2"]
    assert {name for name, step in result.steps if not step.reused} == runs_again
    for name, step in result.steps:
        if name not in runs_again:
            assert step.answer.chat == first[name].answer.chat
    assert result.charge.cost_nanos == len(runs_again) * price(CHEAP) == sum(record.cost_nanos for record in records)
    assert dict(result.charge.savings)["cache_tier_3"] == (5 - len(runs_again)) * price(BASELINE)
    assert result.cache_tier == 0
    assert len(records) == len(runs_again) + 1
    assert sum(1 for record in records if record.answered) == 1
    assert sum(record.cost_original_nanos for record in records) == result.charge.original_nanos


async def test_a_step_that_answers_as_before_spares_those_that_read_it() -> None:
    async with flying() as rig:

        def script(call: ScriptedCompletion) -> None:
            call.decide()
            call.announce(call.task.first_attempt)
            call.complete("the same" if "facts" in question_of(call) else "other")

        rig.router.script = script
        plan = (Step("facts", "List the facts of {{document}}"), Step("end", "{{facts}}!", ("facts",)))
        await soon(rig.ask(workflow(*plan)))
        result = await soon(rig.ask(workflow(*plan, request_id="r-2", document="Another text.")))
    assert [(name, step.cache_tier) for name, step in result.steps] == [("facts", 0), ("end", 3)]


@pytest.mark.parametrize(
    "other",
    [
        {"by": verdict("org-2")},
        {"kind": "translate"},
        {"quality_threshold": 4.5},
        {"prompt": "List the  facts of {{document}}"},
        {"system": "Be brief."},
        {"temperature": 0.5},
        {"document_id": "letter"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_result_serves_no_step_that_may_need_another(other: dict[str, Any]) -> None:
    step = Step("facts", "List the facts of {{document}}")
    first = workflow(step)
    fields = {name: value for name, value in other.items() if name in ("kind", "quality_threshold", "prompt")}
    second = workflow(replace(step, **fields), request_id="r-2")
    if "by" in other:
        second = replace(second, verdict=other["by"])
    if "document_id" in other:
        second = replace(second, document_id=other["document_id"])
    chat = ChatRequest()
    chat.CopyFrom(second.prompt.chat)
    if "system" in other:
        chat.messages.insert(0, Message(role=Role.ROLE_SYSTEM, parts=[ContentPart(text="Be brief.")]))
    if "temperature" in other:
        chat.temperature = 0.5
    second.prompt.chat.CopyFrom(chat)
    async with flying() as rig:
        questions = answering(rig)
        await soon(rig.ask(first))
        await soon(rig.ask(second))
    assert len(questions) == 2


async def test_the_name_of_a_step_is_no_part_of_its_result() -> None:
    async with flying() as rig:
        questions = answering(rig)
        await soon(rig.ask(workflow(Step("facts", "List the facts of {{document}}"))))
        renamed = workflow(Step("what", "List the facts of {{document}}"), request_id="r-2")
        assert (await soon(rig.ask(renamed))).cache_tier == 3
    assert len(questions) == 1


async def test_identical_steps_share_one_call() -> None:
    plan = (
        Step("one", "Summarise {{document}}"),
        Step("two", "Summarise {{document}}"),
        Step("end", "{{one}} {{two}}", ("one", "two")),
    )
    async with flying() as rig:
        questions = answering(rig)
        result = await soon(rig.ask(workflow(*plan)))
        records = await rig.records()
    assert len(questions) == 2
    assert sorted(step.coalesced for _, step in result.steps) == [False, False, True]
    assert result.charge.cost_nanos == 2 * price(CHEAP) == sum(record.cost_nanos for record in records)
    assert dict(result.charge.savings)["coalesced"] == price(BASELINE)


async def test_what_is_put_in_is_text_and_never_a_template() -> None:
    hostile = "{{prompt}} {{facts}} \\1 \\g<0> {{document}}"
    plan = (Step("facts", "Read {{ document }}"), Step("end", "{{facts}}|{{prompt}}", ("facts",)))
    async with flying() as rig:
        questions = answering(rig)
        await soon(rig.ask(workflow(*plan, document=hostile, prompt="{{document}}")))
    assert questions == [f"Read {hostile}", f"[Read {hostile}]|{{{{document}}}}"]


async def test_steps_run_side_by_side_within_a_bound() -> None:
    steps = tuple(Step(f"s{number}", f"Question {number}") for number in range(20))
    end = Step("end", "All", tuple(step.id for step in steps))
    async with flying() as rig:
        asking = rig.ask(workflow(*steps, end))
        await until(lambda: len(rig.router.calls) == 8)
        await asyncio.sleep(0.01)
        assert len(rig.router.calls) == 8
        answering(rig)
        for call in tuple(rig.router.calls):
            call.answer("x")
        result = await soon(asking)
    assert len(result.steps) == 21


async def test_a_step_that_fails_is_named_and_what_was_answered_is_kept() -> None:
    failing = True

    def script(call: ScriptedCompletion) -> None:
        if failing and question_of(call).startswith("Join"):
            call.break_off(ProviderError("Every provider refused."))
            return
        call.decide()
        call.announce(call.task.first_attempt)
        call.complete(f"[{question_of(call)}]")

    async with flying() as rig:
        rig.router.script = script
        with pytest.raises(ProviderError) as failure:
            await soon(rig.ask(workflow()))
        assert failure.value.message == "Step 'both': Every provider refused."
        assert failure.value.param == "steps[3]"
        assert failure.value.billed
        failing = False
        result = await soon(rig.ask(workflow(request_id="r-2")))
        records = await rig.records()
    assert [(name, step.cache_tier) for name, step in result.steps] == [
        *(("facts", 3), ("tone", 3), ("question", 3)),
        *(("both", 0), ("answer", 0)),
    ]
    assert [record.answered for record in records if record.request_id == "r-1"] == [False] * 3


async def test_a_failure_ends_the_steps_under_way_and_each_is_recorded() -> None:
    async with flying() as rig:
        asking = rig.ask(workflow(Step("a", "A"), Step("b", "B"), Step("end", "{{a}}{{b}}", ("a", "b"))))
        first, second = await rig.call(1), await rig.call(2)
        second.decide(expected_cost_nanos=20_000_000)
        second.announce(second.task.first_attempt)
        await until(lambda: len(list(rig.spool.intents())) == 1)
        first.break_off(ServiceUnavailable("It does not answer.", retry_after_s=2.0))
        with pytest.raises(ServiceUnavailable) as failure:
            await soon(asking)
        await until(lambda: second.cancelled)
        (record,) = await rig.calls_recorded()
    assert failure.value.retry_after_s == 2.0
    assert failure.value.billed, "another step was under way"
    assert (record.attempt, record.answered) == (1001, False)


@pytest.mark.parametrize("how", ["goes", "is cancelled", "closes the stream"])
async def test_when_the_caller_leaves_every_step_is_left(how: str) -> None:
    async with flying() as rig:
        caller = Waiting()
        request = workflow(Step("a", "A"), Step("b", "B"), Step("end", "{{a}}{{b}}", ("a", "b")))
        if how == "closes the stream":
            task = rig.listen(replace(request, stream=True)).task
        else:
            task = rig.ask(request, caller)  # type: ignore[assignment]
        calls = [await rig.call(1), await rig.call(2)]
        for call in calls:
            call.decide(expected_cost_nanos=20_000_000)
            call.announce(call.task.first_attempt)
        await until(lambda: len(list(rig.spool.intents())) == 2)
        if how == "goes":
            caller.go()
        else:
            task.cancel()
        await until(lambda: all(call.cancelled for call in calls))
        with pytest.raises((Cancelled, asyncio.CancelledError)):
            await soon(task)
        await until(lambda: not list(rig.spool.intents()))
        records = await rig.calls_recorded()
    assert sorted(record.attempt for record in records) == [1, 1001]


async def test_the_answering_step_is_streamed() -> None:
    async with flying() as rig:
        listener = rig.listen(workflow(Step("a", "A"), Step("end", "{{a}}!", ("a",)), stream=True))
        first = await rig.call(1)
        assert not first.stream
        first.answer("x")
        last = await rig.call(2)
        assert last.stream
        last.decide()
        last.announce(last.task.first_attempt)
        last.say("forty")
        await until(lambda: listener.text == "forty")
        last.say("-two")
        last.complete("forty-two")
        await soon(listener.task)
    assert listener.result is not None
    assert listener.pieces[0].opening.model == CHEAP
    assert listener.text == text_of(listener.result.answer) == "forty-two"
    assert [name for name, _ in listener.result.steps] == ["a", "end"]
    assert listener.result.charge.cost_nanos == 2 * price(CHEAP)


async def test_a_workflow_of_hits_streams_as_the_result_alone() -> None:
    async with flying() as rig:
        answering(rig)
        await soon(rig.ask(workflow()))
        listener = rig.listen(workflow(request_id="r-2", stream=True))
        await soon(listener.task)
    assert listener.pieces == []
    assert listener.result is not None
    assert listener.result.cache_tier == 3


async def test_a_budget_of_cost_bounds_the_whole() -> None:
    async with flying() as rig:
        questions = answering(rig)
        request = workflow()
        request.routing.cost_budget_nanos = 10 * price(CHEAP)
        await soon(rig.ask(request))
        budgets = [call.task.routing.cost_budget_nanos for call in rig.router.calls]
    assert len(questions) == 5
    assert budgets == [(10 - spent) * price(CHEAP) for spent in range(5)]


async def test_a_latency_budget_bounds_the_whole() -> None:
    async with flying() as rig:

        async def hurried() -> None:
            limit(2.0)
            request = workflow(Step("a", "A"), Step("end", "{{a}}", ("a",)))
            request.routing.latency_budget_ms = 2000
            await rig.pipeline.infer(request, Waiting())

        asking = rig.begin(hurried())
        first = await rig.call(1)
        await asyncio.sleep(0.05)
        first.answer("x")
        second = await rig.call(2)
        with pytest.raises(DeadlineExceeded) as late:
            await soon(asking)
        assert 0 < second.task.routing.latency_budget_ms < first.task.routing.latency_budget_ms <= 2000
        second.cancel()
    assert late.value.param == "steps[1]"
    assert current_call.get().deadline is None


async def test_holds_of_a_blocking_budget_are_taken_per_step_and_none_is_left() -> None:
    policy = Policy(budgets=[Budget(per="organization", limit_nanos=1, action=BudgetAction.BUDGET_ACTION_BLOCK)])
    by = verdict()
    by.policy.CopyFrom(policy)
    by.policy_version = 1
    async with flying() as rig:
        answering(rig)
        await soon(rig.ask(replace(workflow(), verdict=by)))
        await rig.records()
        assert sorted(one.attempt for one in rig.keeper.reservations) == [1, 1001, 2001, 3001, 4001]
        assert rig.keeper.held == {}
        rig.keeper.limit_nanos = 0

        def announce(call: ScriptedCompletion) -> None:
            call.decide()
            call.announce(call.task.first_attempt)

        rig.router.script = announce
        with pytest.raises(InsufficientQuota) as refusal:
            await soon(rig.ask(replace(workflow(request_id="r-2", document="Another."), verdict=by)))
        assert refusal.value.message.startswith("Step '")
        assert rig.keeper.held == {}


async def test_a_step_whose_answer_was_cut_off_is_not_kept() -> None:
    def cut(call: ScriptedCompletion) -> None:
        call.decide()
        call.announce(call.task.first_attempt)
        call.complete(answer("half an", reason=FinishReason.FINISH_REASON_LENGTH))

    async with flying() as rig:
        rig.router.script = cut
        plan = (Step("a", "A"), Step("end", "{{a}}", ("a",)))
        for request_id in ("r-1", "r-2"):
            result = await soon(rig.ask(workflow(*plan, request_id=request_id)))
            assert [step.cache_tier for _, step in result.steps] == [0, 0]


def test_a_workflow_knows_which_steps_were_made_from_the_document() -> None:
    assert Workflow(_PLAN, {}).made_from_document == {"facts", "tone", "both", "answer"}
    assert Workflow(_PLAN, {}).answering.id == "answer"
    loose = (Step("a", "x"), Step("b", "x", ("a",)), Step("c", "{{document}}"))
    assert Workflow(loose, {}).answering.id == "c"
    assert Workflow(loose, {}).made_from_document == {"c"}
    with pytest.raises(InvalidRequest):
        require_whole(loose, has_document=False)
