"""What a question would cost, without asking it."""

import pytest

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.policy_pb2 import Policy
from asahi_core.errors import NoModelSatisfies, ServiceUnavailable
from asahi_edge.domain.inference import CacheDirectives
from asahi_edge.domain.quotes import Quotes
from services.edge.tests.flying import Rig, asked, flying, verdict
from services.edge.tests.neighbours import CHEAP


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
