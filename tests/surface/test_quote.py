"""`POST /quote`: what a question would cost, without asking it."""

from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization
from tests.ledger import call_records
from tests.simulator import SimulatorControl


def quoted(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    """The quote for a question."""
    answer = client.post("/quote", json={"prompt": "What does a quote cost?", **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_quote_says_what_then_happens(caller: Organization) -> None:
    with caller.client() as client:
        quote = quoted(client)
        answer = client.post("/infer", json={"prompt": "What does a quote cost?"}).json()
        again = quoted(client)
    assert quote["model"] == answer["model_used"]
    assert quote["routing_reason"] == answer["routing_reason"]
    assert not quote["cache"]["hit"]
    assert 0 < quote["expected_cost"] <= quote["max_cost"]
    assert answer["cost"] <= quote["max_cost"]
    assert again["cache"]["hit"]
    assert (again["cache"]["tier"], again["expected_cost"]) == (1, 0)


def test_a_quote_calls_nobody_and_is_not_billed(surface: Installation, caller: Organization) -> None:
    simulator = SimulatorControl(surface.url_of("simulator"))
    before = len(simulator.calls())
    with caller.client() as client:
        quote = quoted(client, explain=True)
        summary = client.get("/analytics/cost-summary?period=1h").json()["data"]
    assert len(simulator.calls()) == before
    assert summary["total_requests"] == 0
    assert call_records(surface.data, caller.id) == []
    assert {"model", "expected_cost", "excluded_by"} <= quote["alternatives"][0].keys()


_STEPS: list[dict[str, Any]] = [
    {"id": "facts", "prompt": "Summarise {{document}}", "type": "summarize"},
    {"id": "tone", "prompt": "Describe the tone of {{prompt}}"},
    {"id": "answer", "prompt": "{{facts}} {{tone}} {{prompt}}", "depends_on": ["facts", "tone"]},
]
_WORKFLOW: dict[str, Any] = {"document": "A text of some length.", "document_id": "contract", "steps": _STEPS}


def test_a_quote_for_a_workflow_says_what_then_happens_step_by_step(caller: Organization) -> None:
    with caller.client() as client:
        client.post(f"/governance/policies/{caller.id}", json={"default_max_output_tokens": 500}).raise_for_status()
        quote = quoted(client, **_WORKFLOW)
        answer = client.post("/infer", json={"prompt": "What does a quote cost?", **_WORKFLOW}).json()
        again = quoted(client, **_WORKFLOW)
        changed = quoted(client, **(_WORKFLOW | {"document": "Another text."}))
    assert [(step["id"], step["estimated"]) for step in quote["steps"]] == [
        ("facts", False),
        ("tone", False),
        ("answer", True),
    ]
    for name in ("expected_cost", "max_cost"):
        assert round(sum(step[name] for step in quote["steps"]) * 1e9) == round(quote[name] * 1e9) > 0
    assert [step["model"] for step in quote["steps"]] == [step["model"] for step in answer["steps"]]
    for told, happened in zip(quote["steps"], answer["steps"], strict=True):
        assert happened["cost"] <= told["max_cost"]
    assert (again["expected_cost"], again["cache"]["hit"], again["cache"]["tier"]) == (0, True, 3)
    assert [step["cache"]["hit"] for step in changed["steps"]] == [False, True, False]
    assert changed["expected_cost"] > 0


def test_the_step_that_would_be_refused_is_named(caller: Organization) -> None:
    steps = [*_STEPS[:2], {**_STEPS[2], "quality_threshold": 5}]
    with caller.client() as client:
        answer = client.post("/quote", json={"prompt": "What does a quote cost?", **_WORKFLOW, "steps": steps})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "no_model_satisfies", "steps[2]")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"cost_budget": 0.000001}, 422, "no_model_satisfies", "cost_budget"),
        ({"routing_mode": "explicit", "model_override": "gpt-6-lunar"}, 404, "model_not_found", "model_override"),
        ({"temperature": "hot"}, 400, "invalid_request", "temperature"),
        ({"organization_id": "org_of_another"}, 403, "organization_mismatch", "organization_id"),
    ],
)
def test_what_the_question_would_be_refused_with_its_quote_is_too(
    caller: Organization, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    with caller.client() as client:
        answer = client.post("/quote", json={"prompt": "What does a quote cost?", **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
