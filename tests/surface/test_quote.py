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
