"""What answers that fail their check cost besides is part of what their model is expected to cost."""

from contextlib import closing
from pathlib import Path

import pytest

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.policy_pb2 import Cascade
from asahi_core.clock import ManualClock
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.decision import Past, Ranking, decide
from asahi_router.domain.escalation import Checks
from asahi_router.domain.features import read_features
from asahi_router.stores.opening import open_outcomes
from services.router.tests.completion_rig import MODELS, Rig, ScriptedProvider, Turn, start
from services.router.tests.decision_rig import BASELINE, CHEAP, EXPLICIT, NOW, PEER, always, chat, scale, task
from services.router.tests.test_experience import experience_at

FORM = b'{"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}'


def asked(**routing: float) -> Task:
    return task(chat(response_format_json=FORM), {"allowed_models": [CHEAP, PEER, BASELINE]}, **routing)


def failing(model: str, of: int, failures: int, organization: str = "org") -> Checks:
    checks, features = Checks(), read_features(asked().prompt)
    for number in range(of):
        checks.checked(organization, model, features, failed=number < failures)
    return checks


def decided(folder: Path, checks: Checks, question: Task | None = None, *, streamed: bool = False) -> Ranking:
    clock = ManualClock(NOW)
    with closing(open_outcomes(folder)) as store:
        past = Past(experience_at(store, clock), Conversations(clock), checks)
        return decide(question or asked(quality_threshold=4), scale(), always, past, explain=True, streamed=streamed)


def test_a_model_that_fails_costs_what_the_next_better_one_does_as_often_as_it_fails(tmp_path: Path) -> None:
    never, tenth = decided(tmp_path, Checks()), decided(tmp_path, failing(CHEAP, 200, 20))
    before, after = ({c.model: c for c in one.decision.candidates} for one in (never, tenth))
    risk = after[CHEAP].check_risk
    assert 0.04 < risk < 0.1, "a little less than seen, as if twenty more had passed"
    assert after[CHEAP].escalation_cost_nanos == round(risk * before[PEER].expected_cost_nanos)
    assert after[CHEAP].expected_cost_nanos == before[CHEAP].expected_cost_nanos + after[CHEAP].escalation_cost_nanos
    assert tenth.decision.model == CHEAP
    assert tenth.decision.expected_cost_nanos == after[CHEAP].expected_cost_nanos
    assert after[BASELINE] == before[BASELINE], "nobody would be asked in its place"


def test_a_model_that_nearly_always_fails_is_not_asked_first(tmp_path: Path) -> None:
    assert decided(tmp_path, failing(CHEAP, 1000, 1000)).decision.model == PEER


@pytest.mark.parametrize("case", ["streamed", "off", "named", "another organization", "no form asked for"])
def test_failures_cost_nothing_where_no_other_model_would_be_asked_for_them(tmp_path: Path, case: str) -> None:
    checks, question = failing(CHEAP, 1000, 1000), asked(quality_threshold=4)
    if case == "off":
        question.policy.cascade = Cascade.CASCADE_OFF
    elif case == "named":
        question.routing.mode, question.routing.model = EXPLICIT, CHEAP
    elif case == "another organization":
        question.organization_id = "other"
    elif case == "no form asked for":
        question.prompt.chat.response_format_json = b""
    ranking = decided(tmp_path, checks, question, streamed=case == "streamed")
    assert ranking.decision.model == CHEAP
    assert {c.model: c.check_risk for c in ranking.decision.candidates}[CHEAP] == 0


async def test_what_the_checks_say_is_learned_for_the_model_that_answered() -> None:
    provider = ScriptedProvider("openai", {MODELS[0]: [Turn(pieces=(" ",))], MODELS[1]: [Turn()]})
    rig = Rig(provider, models=MODELS[:2])
    question = start()
    await rig.run(question)
    risk = rig.checks.risk(question.task.organization_id, read_features(question.task.prompt))
    assert risk(MODELS[0]) > 0 == risk(MODELS[1])
