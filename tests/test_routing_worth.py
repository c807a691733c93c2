"""Who explores and judges answers is told what routing was worth; another organisation is told nothing of it."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization, running_installation

BASELINE, CHEAP = "gpt-6.1-sol", "gpt-6-luna"
QUESTIONS = 260
LONGEST_S = 120.0
"""Until what was judged has been learned from: the router looks every fifteen seconds."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("worth")) as installation:
        yield installation


def exploring(running: Installation, share: float) -> Organization:
    """A new organization that may use the two models, whichever is better, and explores so much."""
    organization = running.signup()
    policy = {
        "allowed_models": [BASELINE, CHEAP],
        "baseline_model": BASELINE,
        "quality": {"floor": 0, "epsilon": 0.05},
        "learning": {"exploration": share},
    }
    with organization.client() as client:
        answer = client.post(f"/governance/policies/{organization.id}", json=policy)
        assert answer.status_code == 200, answer.text
        assert answer.json()["learning"]["exploration"] == share
    return organization


def judged(client: httpx2.Client, number: int) -> dict[str, Any]:
    """Asks, and says that the baseline's answer was good and the cheap model's was not."""
    answered = client.post("/infer", json={"prompt": f"What is known about harbor number {number}?"})
    assert answered.status_code == 200, answered.text
    answer: dict[str, Any] = answered.json()
    said = {"request_id": answer["request_id"], "score": float(answer["model_used"] == BASELINE)}
    feedback = client.post("/feedback", json=said)
    assert feedback.status_code == 200, feedback.text
    return answer


def worth(organization: Organization) -> dict[str, Any]:
    with organization.client() as client:
        answer = client.get("/analytics/recommendations")
    assert answer.status_code == 200, answer.text
    routing: dict[str, Any] = answer.json()["data"]["routing"]
    return routing


def test_what_routing_is_worth_is_measured_by_what_was_drawn_and_told_to_nobody_else(running: Installation) -> None:
    organization, other = exploring(running, 1.0), exploring(running, 0.0)
    with organization.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: judged(client, number), range(QUESTIONS)))
    drawn = Counter(answer["model_used"] for answer in answers)
    assert min(drawn[BASELINE], drawn[CHEAP]) > QUESTIONS / 4, "both are drawn as often as not"
    assert any("was drawn among 2 models" in answer["routing_reason"] for answer in answers)

    ends = time.monotonic() + LONGEST_S
    while (routing := worth(organization))["state"] == "insufficient_evidence" and time.monotonic() < ends:
        time.sleep(1)
    assert routing["state"] == "baseline_took_over", routing["says"]
    assert (routing["baseline_model"], routing["epsilon"]) == (BASELINE, 0.05)
    assert routing["decisions"] == routing["explored"] <= QUESTIONS
    controls = {control["policy"]: control for control in routing["controls"]}
    assert list(controls) == ["router", "always_baseline", "cheapest", "best_constant", "cost_matched_mix"]
    assert controls["cheapest"]["lost"]["low"] > 0.5, "none of its answers was good"
    assert controls["router"]["lost"]["low"] > 0.05
    assert controls["router"]["saved"] > 0
    assert "so that gpt-6.1-sol answers for now" in routing["says"]

    nothing = worth(other)
    assert (nothing["state"], nothing["decisions"], nothing["controls"]) == ("insufficient_evidence", 0, [])
