"""What a question would cost, without asking it."""

import pytest

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.policy_pb2 import Policy
from asahi_core.errors import NoModelSatisfies, ServiceUnavailable
from asahi_edge.domain.inference import CacheDirectives
from asahi_edge.domain.quotes import Quotes
from asahi_edge.domain.workflow import Step
from services.edge.tests.flying import Rig, asked, flying, soon, verdict
from services.edge.tests.neighbours import CHEAP
from services.edge.tests.test_workflows import answering, question_of_task, workflow


def quotes(rig: Rig) -> Quotes:
    return Quotes(rig.cache, rig.near, rig.router)


async def test_a_quote_asks_no_provider_and_records_nothing() -> None:
    async with flying() as rig:
        quoted = await quotes(rig).quote(asked("r-1"))
        assert (quoted.decision.model, quoted.hit, quoted.cache_reachable) == (CHEAP, None, True)
        assert rig.router.calls == []
        assert rig.spool.appended == 0


async def test_a_kept_answer_is_told_whether_it_is_near_by_or_far() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        for _ in ("near", "far"):
            quoted = await quotes(rig).quote(asked("r-2"))
            assert quoted.hit is not None
            assert quoted.hit.tier == 1
            rig.near.clear()


@pytest.mark.parametrize(
    "by",
    [
        verdict(models=("claude-*",)),
        Verdict(organization_id="org-1", policy=Policy(allowed_models=["claude-*"])),
        verdict("org-2"),
    ],
    ids=["key", "policy", "another organisation"],
)
async def test_an_answer_that_may_not_be_given_is_none(by: Verdict) -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        assert (await quotes(rig).quote(asked("r-2", by=by))).hit is None


async def test_a_caller_who_leaves_the_cache_aside_is_quoted_a_call() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        quoted = await quotes(rig).quote(asked("r-2", cache=CacheDirectives(read=False)))
        assert (quoted.hit, quoted.cache_reachable) == (None, True)


async def test_without_the_cache_a_call_is_quoted_and_that_is_told() -> None:
    async with flying() as rig:
        rig.cache.failure = ServiceUnavailable("down", retry_after_s=1)
        quoted = await quotes(rig).quote(asked("r-1"))
        assert (quoted.hit, quoted.cache_reachable) == (None, False)


async def test_what_the_request_would_be_refused_with_the_quote_is_too() -> None:
    async with flying() as rig:
        rig.router.failure = NoModelSatisfies("None.", param="cost_budget")
        with pytest.raises(NoModelSatisfies):
            await quotes(rig).quote(asked("r-1"))


async def test_each_step_of_a_workflow_is_quoted_and_the_sums_are_the_quotes() -> None:
    async with flying() as rig:
        quoted = await quotes(rig).quote(workflow())
        assert [(one.step_id, one.estimated, one.quote.tier) for one in quoted.steps] == [
            ("facts", False, 0),
            ("tone", False, 0),
            ("question", False, 0),
            ("both", True, 0),
            ("answer", True, 0),
        ]
        assert quoted.expected_cost_nanos == 5 * 1000
        assert quoted.max_cost_nanos == sum(one.quote.max_cost_nanos or 0 for one in quoted.steps)
        assert (quoted.tier, quoted.decision.model) == (0, CHEAP)
        assert rig.router.calls == []
        assert rig.spool.appended == 0


async def test_a_step_is_quoted_by_how_long_what_it_reads_is_expected_to_be_and_may_be_at_most() -> None:
    async with flying() as rig:
        quoted = await quotes(rig).quote(workflow(Step("a", "One {{document}}"), Step("b", "Two: {{a}}", ("a",))))
    asked, expected, longest = (question_of_task(task) for task in rig.router.decided)
    assert asked == "One A text."
    assert expected.count("…") == 10
    assert longest.count("…") == 100
    assert (quoted.steps[1].quote.max_cost_nanos or 0) > len(longest)


async def test_a_workflow_that_was_answered_is_quoted_from_what_is_kept() -> None:
    async with flying() as rig:
        answering(rig)
        await soon(rig.ask(workflow()))
        again = await quotes(rig).quote(workflow(request_id="r-2"))
        assert (again.expected_cost_nanos, again.tier) == (0, 3)
        assert [(one.quote.tier, one.estimated) for one in again.steps] == [(3, False)] * 5
        changed = await quotes(rig).quote(workflow(request_id="r-3", document="Another text."))
        assert [(one.step_id, one.quote.tier, one.estimated) for one in changed.steps] == [
            ("facts", 0, False),
            ("tone", 0, False),
            ("question", 3, False),
            ("both", 0, True),
            ("answer", 0, True),
        ]
        assert changed.expected_cost_nanos == 4 * 1000


async def test_the_step_that_would_be_refused_is_named() -> None:
    async with flying() as rig:
        rig.router.failure = NoModelSatisfies("None.", param="cost_budget")
        with pytest.raises(NoModelSatisfies) as refused:
            await quotes(rig).quote(workflow())
    assert refused.value.param == "steps[0]"
    assert refused.value.message == "Step 'facts': None."
