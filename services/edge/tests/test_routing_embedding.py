"""The router is told the embedding that the cache made of the question, wherever it has a choice."""

from dataclasses import replace

import pytest

from asahi.cache.v1.cache_pb2 import LookupResponse
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi_edge.api.answers import cache_explanation
from asahi_edge.domain.flight_calls import FlightLimits
from asahi_edge.domain.inference import CacheDirectives, InferenceRequest
from asahi_edge.domain.similarity import Similarity, in_infer
from services.edge.tests.flying import asked, flying, verdict

EMBEDDING = b"\x00\x00\x80\x3f" * 384


def comparable(mode: RoutingMode.ValueType) -> InferenceRequest:
    by = verdict()
    by.policy.cache.tiers.extend((1, 2))
    by.policy.cache.false_hit_bound = 0.01
    routing = Routing(mode=mode)
    bare = asked("r-1", by=by, cache=CacheDirectives(similar=True))
    body = {"prompt": "What is 6 × 7?"}
    return replace(
        bare,
        routing=routing,
        similarity=Similarity(lambda: in_infer(body), bare.api, routing, by, {}, ("",), len(body["prompt"])),
    )


@pytest.mark.parametrize("mode", [RoutingMode.ROUTING_MODE_AUTOPILOT, RoutingMode.ROUTING_MODE_GUIDED])
async def test_the_embedding_is_wanted_and_handed_on(mode: RoutingMode.ValueType) -> None:
    async with flying() as rig:
        rig.cache.similar = LookupResponse(embedding=EMBEDDING)
        await rig.answered(comparable(mode))
        (question,) = rig.cache.asked
        (call,) = rig.router.calls
    assert question is not None
    assert question.embedding_wanted
    assert call.task.prompt_embedding == EMBEDDING


async def test_who_names_the_model_needs_none() -> None:
    async with flying() as rig:
        await rig.answered(comparable(RoutingMode.ROUTING_MODE_EXPLICIT))
        (question,) = rig.cache.asked
    assert question is not None
    assert not question.embedding_wanted


async def test_where_tier_2_has_no_part_none_is_asked_for() -> None:
    async with flying() as rig:
        await rig.answered(asked("r-1"))
        (call,) = rig.router.calls
    assert rig.cache.asked == [None]
    assert call.task.prompt_embedding == b""


async def test_who_wants_an_explanation_is_told_why_similar_questions_were_not_looked_for() -> None:
    long = replace(comparable(RoutingMode.ROUTING_MODE_AUTOPILOT), explain=True)
    async with flying(FlightLimits(similar_characters=5)) as rig:
        result = await rig.answered(long)
    assert rig.cache.asked == [None]
    assert "14 characters, of at most 5" in cache_explanation(result)
