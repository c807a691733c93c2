"""A cheap model that fails at one structured output or tool call in ten: as good as the strong one, and cheaper."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from tests.installation import PATIENT, Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

CHEAP, STRONG = "gpt-6-luna", "gpt-6.1-sol"
QUESTIONS = 100
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "forecast", "parameters": SCHEMA}}
FAILING = [
    {"mode": "answer", "match": {"model": CHEAP, "contains": "#0 as JSON"}, "params": {"text": '{"city": "Oslo"}'}},
    {
        "mode": "tool_calls",
        "match": {"model": CHEAP, "contains": "#0 by forecast"},
        "params": {"arguments": {"forecast": {"city": "Oslo", "days": "two"}}},
    },
]
"""Every tenth question, in either form."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation over the simulator."""
    with running_installation(tmp_path_factory.mktemp("cascade"), environment=PATIENT) as installation:
        yield installation


@pytest.fixture
def control(running: Installation) -> SimulatorControl:
    """The simulator, whose cheap model fails at every tenth question."""
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules(*FAILING)
    return control


def organization_of(running: Installation, **policy: Any) -> Organization:
    """A new organization that may use the two models."""
    organization = running.signup()
    with organization.client() as client:
        changes = {"allowed_models": [CHEAP, STRONG], **policy}
        answer = client.post(f"/governance/policies/{organization.id}", json=changes)
        assert answer.status_code == 200, answer.text
    return organization


def ask(client: httpx2.Client, number: int, **fields: Any) -> dict[str, Any]:
    """Answers question `number`, structured output and a tool call by turns."""
    form = "by forecast" if number % 2 else "as JSON"
    content = f"Where to, in trip {number}? It is #{number // 2 % 10} {form}."
    wanted = (
        {"tools": [TOOL], "tool_choice": "required", "reasoning_effort": "none"}
        if number % 2
        else {"response_format": FORMAT}
    )
    body = {"model": "asahi", "messages": [{"role": "user", "content": content}], **wanted, **fields}
    headers = {} if "model" in fields else {"x-asahi-routing": json.dumps({"quality_threshold": 3})}
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)
    return told


def succeeded(answer: dict[str, Any]) -> bool:
    """Whether the answer is what was asked for."""
    message = answer["choices"][0]["message"]
    calls = message.get("tool_calls")
    text = calls[0]["function"]["arguments"] if calls else message["content"]
    return jsonschema_rs.is_valid(SCHEMA, json.loads(text))


def ask_all(organization: Organization, **fields: Any) -> tuple[list[dict[str, Any]], float, Decimal]:
    """All answers, the share of them that succeeded, and what they cost together in dollars."""
    with organization.client() as client:
        answers = [ask(client, number, **fields) for number in range(QUESTIONS)]
    cost = sum((Decimal(answer["asahi"]["cost_usd"]) for answer in answers), Decimal(0))
    return answers, sum(map(succeeded, answers)) / len(answers), cost


def records_of(data: Path, organization: Organization, wanted: int) -> list[dict[str, Any]]:
    """The ledger's records of provider calls, once there are so many."""
    with organization.client() as client:
        for _ in range(100):
            records = call_records(data, organization.id)
            if len(records) >= wanted:
                return records
            client.get("/analytics/cost-summary")
    return records


def test_it_is_as_good_as_the_strong_model_for_less_than_two_fifths_of_its_cost(
    running: Installation, control: SimulatorControl
) -> None:
    strong, cascading = organization_of(running), organization_of(running)
    _, strong_success, strong_cost = ask_all(strong, model=STRONG)
    _, off_success, _ = ask_all(organization_of(running, learning={"cascade": "off"}))
    control.reset()
    control.rules(*FAILING)
    answers, success, cost = ask_all(cascading)
    print(f"success {success:.2f} of {strong_success:.2f} (off: {off_success:.2f}), cost {cost / strong_cost:.1%}")
    assert strong_success == 1.0
    assert off_success == pytest.approx(0.9)
    assert success >= strong_success
    assert cost <= Decimal("0.4") * strong_cost

    twice = [answer["asahi"] for answer in answers if "cascade" in answer["asahi"]["optimization_techniques"]]
    assert len(twice) == QUESTIONS // 10
    assert all("failed a check" in one["routing_reason"] for one in twice)
    records = records_of(running.data, cascading, QUESTIONS + len(twice))
    assert len(records) == QUESTIONS + len(twice) == len(control.calls())
    outcomes = Counter((record["model"], record["error_code"], bool(record["answered"])) for record in records)
    assert outcomes == {
        (CHEAP, "", True): QUESTIONS - len(twice),
        (CHEAP, "cascade: json_schema", False): len(twice) // 2,
        (CHEAP, "cascade: tool_arguments", False): len(twice) // 2,
        (STRONG, "", True): len(twice),
    }
    assert sum(record["cost_nanos"] for record in records) == cost * 10**9


def test_both_bills_are_shown_and_the_better_answer_is_cached(running: Installation, control: SimulatorControl) -> None:
    body = {"prompt": "It is #0 as JSON.", "response_format": FORMAT, "quality_threshold": 3}
    with organization_of(running).client() as client:
        first, second = (client.post("/infer", json=body).json() for _ in range(2))
    assert [(one["model"], one["outcome"]) for one in first["attempts"]] == [
        (CHEAP, "cascade: json_schema"),
        (STRONG, "answered"),
    ]
    assert first["model_used"] == STRONG
    assert "cascade" in first["optimization_techniques"]
    assert f"{CHEAP}'s answer failed a check (json_schema), so {STRONG} was asked." in first["routing_reason"]
    assert (second["cache_tier"], second["response"]) == (1, first["response"])


def test_a_model_whose_answers_keep_failing_is_asked_no_more_because_of_what_that_costs(
    running: Installation, control: SimulatorControl
) -> None:
    hopeless = "gpt-4.1-nano"
    control.rules({"mode": "answer", "match": {"model": hopeless}, "params": {"text": '{"city": "Oslo"}'}})
    told: list[dict[str, Any]] = []
    with organization_of(running, allowed_models=[hopeless, CHEAP]).client() as client:
        for number in range(150):
            body = {
                "prompt": f"Where to in {number}, as JSON?",
                "response_format": FORMAT,
                "quality_threshold": 3,
                "explain": True,
            }
            told.append(client.post("/infer", json=body).json())
            if len(told[-1]["attempts"]) == 1:
                break
    assert {one["model_used"] for one in told} == {CHEAP}
    assert [one["model"] for one in told[0]["attempts"]] == [hopeless, CHEAP]
    assert [one["model"] for one in told[-1]["attempts"]] == [CHEAP]
    first, last = ({one["model"]: one for one in answer["alternatives"]} for answer in (told[0], told[-1]))
    assert (first[hopeless]["check_risk"], first[hopeless]["escalation_cost"]) == (0, 0)
    risk = (len(told) - 1) / (len(told) - 1 + 20)
    assert last[hopeless]["check_risk"] == pytest.approx(risk, rel=0.2)
    assert last[hopeless]["escalation_cost"] == pytest.approx(risk * last[CHEAP]["expected_cost"], rel=0.2)
    assert last[hopeless]["expected_cost"] > last[CHEAP]["expected_cost"]


def test_an_answer_given_as_it_is_is_not_cached(running: Installation, control: SimulatorControl) -> None:
    body = {"prompt": "It is #0 as JSON.", "response_format": FORMAT, "quality_threshold": 3}
    with organization_of(running, allowed_models=[CHEAP]).client() as client:
        answers = [client.post("/infer", json=body).json() for _ in range(2)]
    assert [answer["cache_tier"] for answer in answers] == [0, 0]
    assert [answer["response"] for answer in answers] == ['{"city": "Oslo"}'] * 2
    assert all("is given as it is: no better model may answer" in answer["routing_reason"] for answer in answers)


def test_a_hard_budget_that_has_no_room_for_a_better_model_gives_the_first_answer(
    running: Installation, control: SimulatorControl
) -> None:
    question = {"prompt": "It is #0 as JSON.", "response_format": FORMAT}
    organization = organization_of(running, default_max_output_tokens=1000)
    with organization.client() as client:
        bounds = {}
        for model in (CHEAP, STRONG):
            named = {"routing_mode": "explicit", "model_override": model, "cost_budget": 10}
            quote = client.post("/quote", json={**question, **named}).json()
            bounds[model] = Decimal(str(quote["max_cost"]))
        limit = float(bounds[CHEAP] + (bounds[STRONG] - bounds[CHEAP]) / 2)
        budget = {"per": "organization", "window": "month", "limit_usd": limit, "action": "block"}
        changed = client.post(f"/governance/policies/{organization.id}", json={"budgets": [budget]})
        assert changed.status_code == 200, changed.text
        answer = client.post("/infer", json={**question, "quality_threshold": 3})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(one["model"], one["outcome"]) for one in told["attempts"]] == [(CHEAP, "answered")]
    assert told["response"] == '{"city": "Oslo"}'
    assert "no better model answered" in told["routing_reason"]
    assert [record["attempt"] for record in records_of(running.data, organization, 1)] == [1]
