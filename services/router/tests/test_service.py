"""The service over real gRPC, with the simulator behind it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.clock import SystemClock
from asahi_core.errors import InvalidRequest, ModelNotFound, NoModelSatisfies
from asahi_router import wiring
from asahi_router.settings import RouterSettings
from services.router.tests.decision_rig import ANTHROPIC, EXPLICIT, chat, native, task
from services.router.tests.running import running
from simulator.tests.running import RunningSimulator


@pytest.fixture
async def router(tmp_path: Path, simulator: RunningSimulator) -> AsyncIterator[RouterServiceStub]:
    async with running(tmp_path, simulator_url=simulator.url) as stub:
        yield stub


async def complete(router: RouterServiceStub, asked: pb.Task, *, stream: bool = False) -> list[pb.CompleteResponse]:
    async def requests() -> AsyncIterator[pb.CompleteRequest]:
        yield pb.CompleteRequest(start=pb.CompleteStart(task=asked, stream=stream))

    return [event async for event in router.Complete(requests())]


async def test_a_dry_run_says_which_model_and_lists_every_candidate(router: RouterServiceStub) -> None:
    decision = (await router.Decide(pb.DecideRequest(task=task()))).decision
    assert decision.model in decision.reason
    assert decision.provider == "simulator"
    assert len(decision.candidates) > 35
    assert decision.reference_model == "gpt-6.1-sol"


async def test_the_guides_latency_budget_finds_a_model(router: RouterServiceStub) -> None:
    asked = task(chat("Explain async/await in Python."), latency_budget_ms=5000)
    decision = (await router.Decide(pb.DecideRequest(task=asked))).decision
    chosen = decision.candidates[0]
    assert chosen.model == decision.model
    assert chosen.total_ms <= 5000


@pytest.mark.parametrize("model", ["gpt-6-luna", "claude-haiku-5-5"])
async def test_a_completion_is_answered_by_the_model_decided_in_either_vendors_protocol(
    router: RouterServiceStub, simulator: RunningSimulator, model: str
) -> None:
    events = await complete(router, task(mode=EXPLICIT, model=model))
    assert [event.WhichOneof("event") for event in events] == ["decision", "attempt", "completed"]
    answer = events[-1].completed.answer
    assert answer.model == model
    assert answer.provider == "simulator"
    assert answer.chat.parts[0].text
    assert [call["model"] for call in simulator.calls()] == [model]


async def test_what_was_decided_dry_is_what_is_done(router: RouterServiceStub) -> None:
    asked = task(native(ANTHROPIC, "Translate to German: good morning", max_tokens=50))
    dry = (await router.Decide(pb.DecideRequest(task=asked))).decision
    events = await complete(router, asked, stream=True)
    assert events[0].decision.model == dry.model
    assert events[-1].completed.outcome.model == dry.model
    assert any(event.HasField("delta") for event in events)


async def test_errors_arrive_as_what_they_are(router: RouterServiceStub) -> None:
    with pytest.raises(ModelNotFound):
        await complete(router, task(mode=EXPLICIT, model="nobody"))
    with pytest.raises(NoModelSatisfies):
        await router.Decide(pb.DecideRequest(task=task(latency_budget_ms=1)))


async def test_a_completion_must_begin_with_start(router: RouterServiceStub) -> None:
    async def requests() -> AsyncIterator[pb.CompleteRequest]:
        yield pb.CompleteRequest(cancel=pb.Cancel())

    with pytest.raises(InvalidRequest, match="must be `start`"):
        [event async for event in router.Complete(requests())]


async def test_the_catalog_lists_prices_speed_and_health(router: RouterServiceStub) -> None:
    listed = await router.ListModels(pb.ListModelsRequest())
    models = {model.id: model for model in listed.models}
    assert listed.baseline_model == "gpt-6.1-sol"
    assert list(models) == sorted(models)
    luna = models["gpt-6-luna"]
    assert luna.input_nanos_per_million == 100_000_000
    assert luna.output_nanos_per_million == 500_000_000
    assert luna.health == pb.ModelHealth.MODEL_HEALTH_AVAILABLE
    assert luna.provider == "simulator"
    assert luna.quality_by_task["chat"] > 4


async def test_answers_teach_how_fast_a_model_is(router: RouterServiceStub) -> None:
    async def first_token_ms() -> float:
        listed = await router.ListModels(pb.ListModelsRequest())
        return next(model.first_token_ms for model in listed.models if model.id == "gpt-6.1-sol")

    before = await first_token_ms()
    await complete(router, task(mode=EXPLICIT, model="gpt-6.1-sol"))
    assert await first_token_ms() < before


async def test_an_outcome_is_kept_and_one_that_says_nothing_is_refused(router: RouterServiceStub) -> None:
    outcome = pb.RecordOutcomeRequest(organization_id="o", request_id="r", model="m", source="k", score=0.5)
    await router.RecordOutcome(outcome)
    await router.RecordOutcome(outcome)
    outcome.ClearField("score")
    with pytest.raises(InvalidRequest, match="needs a 'score'"):
        await router.RecordOutcome(outcome)


async def test_what_is_erased_is_counted_and_a_second_time_there_is_nothing(router: RouterServiceStub) -> None:
    await router.RecordOutcome(
        pb.RecordOutcomeRequest(
            organization_id="forgotten", request_id="r", model="m", source="k", score=0.5, user_id="ada"
        )
    )
    erasing = pb.EraseOutcomesRequest(organization_id="forgotten", user_id="ada")
    assert (await router.EraseOutcomes(erasing)).outcomes == 1
    assert (await router.EraseOutcomes(erasing)).outcomes == 0
    with pytest.raises(InvalidRequest, match="organization_id is missing"):
        await router.EraseOutcomes(pb.EraseOutcomesRequest(user_id="ada"))


def test_without_any_provider_the_service_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(wiring.NoProvider, match="OPENAI_API_KEY"):
        wiring.build(RouterSettings(data_dir=tmp_path), SystemClock(), lambda: 0.5)


def test_keys_choose_the_vendors_over_the_simulator_and_are_shown_nowhere(tmp_path: Path) -> None:
    settings = RouterSettings(data_dir=tmp_path, OPENAI_API_KEY="sk-very-secret", simulator_url="http://127.0.0.1:1")
    service = wiring.build(settings, SystemClock(), lambda: 0.5)
    assert list(service.providers) == ["openai"]
    assert "very-secret" not in repr(service)
    assert "very-secret" not in repr(settings)
    service.store.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"OPENAI_BASE_URL": "ftp://x"}, "must begin with http"),
        ({"OPENAI_API_KEY": "key\n"}, "printable ASCII"),
        ({"drain_seconds": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RouterSettings(**fields)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "gpt-6-luna"])
async def test_tokens_are_counted_by_a_provider_that_can_and_estimated_for_one_that_cannot(
    router: RouterServiceStub, simulator: RunningSimulator, model: str
) -> None:
    asked = task(native(ANTHROPIC, "How long is this question, in tokens?", max_tokens=50), mode=EXPLICIT, model=model)
    counted = await router.CountTokens(pb.CountTokensRequest(task=asked))
    assert simulator.calls() == []
    assert (counted.model, counted.provider) == (model, "simulator")
    assert counted.estimated == model.startswith("gpt")
    events = await complete(router, asked)
    usage = events[-1].completed.answer.usage
    if counted.estimated:
        assert 0 < counted.input_tokens < 200
        assert not counted.answer_json
    else:
        assert counted.input_tokens == usage.input_tokens
        assert json.loads(counted.answer_json) == {"input_tokens": usage.input_tokens}


async def test_what_an_unknown_model_would_count_nobody_knows(router: RouterServiceStub) -> None:
    asked = task(native(ANTHROPIC, "x", max_tokens=5), mode=EXPLICIT, model="claude-9")
    with pytest.raises(ModelNotFound):
        await router.CountTokens(pb.CountTokensRequest(task=asked))


async def test_a_question_that_is_too_long_to_be_answered_is_counted_all_the_same(router: RouterServiceStub) -> None:
    asked = task(native(ANTHROPIC, "word " * 1_100_000, max_tokens=5), mode=EXPLICIT, model="claude-haiku-5-5")
    assert (await router.CountTokens(pb.CountTokensRequest(task=asked))).input_tokens > 1_000_000
