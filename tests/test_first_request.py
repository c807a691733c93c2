"""The main job, as the integration guide shows it: ask, see the price and why, ask again for nothing, read the sum."""

import json
import subprocess
from decimal import Decimal
from typing import Any

import httpx2
from openai import OpenAI

from tests.installation import Organization


def dollars(text: str) -> Any:
    """JSON with exact amounts."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def curl(organization: Organization) -> Any:
    """The guide's second example, with URL, key and organisation changed."""
    command = [
        "curl", "-sS", "-X", "POST", f"{organization.installation.url}/infer",
        "-H", "Content-Type: application/json",
        "-H", f"Authorization: Bearer {organization.key}",
        "-d", json.dumps({
            "prompt": "Explain async/await in Python.",
            "routing_mode": "autopilot",
            "organization_id": organization.id,
            "latency_budget_ms": 5000,
        }),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    return dollars(done.stdout)


def test_the_guides_curl_example_is_answered_with_its_price_and_the_second_time_from_the_cache(
    organization: Organization,
) -> None:
    first, second = curl(organization), curl(organization)
    assert first["response"]
    assert first["cost"] > 0
    assert first["cost_original"] >= first["cost"]
    assert first["provider"] == "simulator"
    assert first["model_used"] in first["routing_reason"]
    assert not first["cache_hit"]
    assert second["response"] == first["response"]
    assert second["cache_hit"]
    assert second["cache_tier"] == 1
    assert second["cost"] == 0
    assert second["tokens_input"] == second["tokens_output"] == 0
    assert second["optimization_techniques"] == ["cache_tier_1"]
    assert sum(second["savings_breakdown"].values()) == second["cost_original"]


def test_the_guides_sdk_example_works_as_printed(organization: Organization) -> None:
    client = OpenAI(base_url=f"{organization.installation.url}/v1", api_key=organization.key)
    with client:
        answers = [
            client.chat.completions.create(
                model="asahi",
                messages=[{"role": "user", "content": "Explain async/await in Python."}],
                max_tokens=512,
            )
            for _ in range(2)
        ]
    first, second = answers
    assert first.choices[0].message.content
    assert first.usage is not None
    assert first.usage.prompt_tokens > 0
    assert second.choices[0].message.content == first.choices[0].message.content
    assert second.usage == first.usage
    assert second.id != first.id
    assert first.model != "asahi"
    assert second.model_extra is not None
    assert second.model_extra["asahi"]["cost_usd"] == 0
    assert second.model_extra["asahi"]["cache_tier"] == 1


def test_the_cost_summary_is_the_sum_of_the_answers_to_the_nano_dollar(organization: Organization) -> None:
    cost = original = Decimal(0)
    with organization.client() as client:
        for number in (*range(12), *range(6)):
            body = {"prompt": f"What is {number} squared?", "quality_threshold": 3 + number % 2}
            answer = dollars(client.post("/infer", json=body).text)
            cost += answer["cost"]
            original += answer["cost_original"]
        answer = dollars(client.get("/analytics/cost-summary", params={"period": "24h"}).text)["data"]
    assert answer["total_requests"] == 18
    assert answer["cache_hits"] == 6
    assert answer["total_cost"] == cost
    assert answer["cost_original"] == original
    assert answer["total_savings"] == original - cost
    assert sum(answer["savings_by_technique"].values()) == original - cost


def test_another_organization_gets_nothing_from_this_ones_cache(organization: Organization) -> None:
    other = organization.installation.signup("Another")
    for one in (organization, other):
        answer = httpx2.post(
            f"{organization.installation.url}/infer",
            headers=one.headers,
            json={"prompt": "Whose cache is this?"},
            verify=False,
        )
        assert answer.headers["x-asahi-cache"] == "miss"
        assert answer.headers["x-asahi-request-id"] == answer.json()["request_id"]


def test_explicit_routing_answers_by_the_model_named_and_claims_no_savings(organization: Organization) -> None:
    with organization.client() as client:
        body = {"prompt": "Name a colour.", "routing_mode": "explicit", "model_override": "gpt-6.1-sol"}
        answer = dollars(client.post("/infer", json=body).text)
    assert answer["model_used"] == "gpt-6.1-sol"
    assert answer["cost"] == answer["cost_original"] > 0
    assert answer["savings_breakdown"] == {}


def test_guided_routing_spends_more_for_more_quality(organization: Organization) -> None:
    costs = {}
    with organization.client() as client:
        for preference in ("low", "max"):
            body = {
                "prompt": f"Explain monads with care ({preference}).",
                "routing_mode": "guided",
                "quality_preference": preference,
            }
            answer = client.post("/infer", json=body).json()
            costs[preference] = answer["cost"] / answer["tokens_output"]
    assert costs["low"] < costs["max"]
