"""Cached answers can be dropped by what they are about; `python -m tests.invalidation` measures how soon."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, Organization
from tests.invalidation import faults, question, reading_edges, round_of


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own."""
    folder: Path = tmp_path_factory.mktemp("invalidation")
    with reading_edges(folder) as installation:
        yield installation


@pytest.fixture
def caller(running: Installation) -> Organization:
    """A new organisation."""
    return running.signup()


async def test_no_edge_serves_what_was_made_from_an_invalidated_document(running: Installation) -> None:
    outcome = await round_of(running.signup(), per_second=30)
    assert outcome.before
    assert outcome.hits
    assert faults(outcome) == []


def _drop(caller: Organization, **matching: Any) -> int:
    with caller.client("edge2") as client:
        answer = client.request("DELETE", "/governance/cache", json=matching)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["dropped"])


def _state(caller: Organization, body: dict[str, Any], tags: str = "") -> str:
    with caller.client() as client:
        answer = client.post("/infer", json=body, headers={"x-asahi-tags": tags} if tags else {})
    return str(answer.headers["x-asahi-cache"])


def test_all_that_is_given_must_match(caller: Organization) -> None:
    assert _state(caller, question("contract"), "team=legal") == "miss"
    assert _drop(caller, document_id="contract", tag="team=sales") == 0
    assert _drop(caller, document_id="letter", tag="team=legal") == 0
    assert _state(caller, question("contract")) == "hit; tier=1"
    _state(caller, question("letter"))
    assert _drop(caller, document_id="contract", tag="team=legal") == 1
    assert _state(caller, question("contract")) == "miss"
    assert _state(caller, question("letter")) == "hit; tier=1"


def test_a_tag_selects_the_answers_to_requests_that_bore_it(caller: Organization) -> None:
    questions = [{"prompt": f"Question {number}"} for number in range(3)]
    for number, body in enumerate(questions):
        _state(caller, body, f"team={('legal', 'sales')[number % 2]},round=1")
    assert _drop(caller, tag="team=legal") == 2
    assert [_state(caller, body) for body in questions] == ["miss", "hit; tier=1", "miss"]


def test_a_tag_that_cannot_be_one_is_refused(caller: Organization) -> None:
    with caller.client() as client:
        answer = client.request("DELETE", "/governance/cache", json={"tag": "legal"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tag")


@pytest.mark.parametrize(
    ("narrower", "state"),
    [({"tiers": [2, 3]}, "bypass"), ({"ttl_seconds": 1}, "miss"), ({"tiers": []}, "bypass")],
    ids=["tier 1 off", "a short time to live", "no tier"],
)
def test_a_policy_that_narrows_the_cache_takes_effect_at_every_edge(
    caller: Organization, narrower: dict[str, Any], state: str
) -> None:
    assert _state(caller, question("contract")) == "miss"
    assert _state(caller, question("contract")) == "hit; tier=1"
    with caller.client("edge2") as client:
        client.post(f"/governance/policies/{caller.id}", json={"cache": narrower}).raise_for_status()
    deadline = time.monotonic() + 60
    while (told := _state(caller, {**question("contract"), "task_id": "after"})) != state:
        assert time.monotonic() < deadline, f"the answer that was kept before is still served: {told}"
        time.sleep(0.02)


def test_an_answer_by_a_model_that_a_policy_excludes_is_served_no_longer(caller: Organization) -> None:
    with caller.client() as client:
        first = client.post("/infer", json=question("contract")).json()
        client.post(f"/governance/policies/{caller.id}", json={"allowed_models": ["claude-*"]}).raise_for_status()
        for _ in range(200):
            again = client.post("/infer", json=question("contract")).json()
            if again["model_used"] != first["model_used"]:
                break
    assert not first["model_used"].startswith("claude")
    assert again["model_used"].startswith("claude")
