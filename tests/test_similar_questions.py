"""Tier 2 in a whole installation: similar questions are answered once audits allow it, wrong twins never."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization, running_installation
from tests.simulator import SimulatorControl

_BOUND = 0.2
_SUBJECTS = (
    *("apple", "bridge", "candle", "desert", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle"),
    *("ladder", "mirror", "needle", "orange", "pencil", "quartz", "rocket", "saddle", "ticket", "umbrella", "violin"),
    *("window", "yogurt", "zipper", "anchor", "basket", "camera", "dragon", "falcon", "guitar", "helmet", "jungle"),
    *("kitten", "lemon", "monkey", "nickel", "oyster", "parrot", "rabbit", "salmon", "turtle", "vulture", "walnut"),
    *("blanket", "compass", "dolphin", "emerald", "feather", "granite", "hamster", "igloo", "jasmine", "koala"),
)
_WITHIN_S = 60.0
_JUDGED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose simulator answers by subject, and by whether something is turned on or off."""
    with running_installation(tmp_path_factory.mktemp("similar")) as installation:
        control = SimulatorControl(installation.url_of("simulator"))
        control.rules(
            *(
                {"mode": "answer", "match": {"contains": subject}, "params": {"text": f"Open the {subject} menu."}}
                for subject in _SUBJECTS
            ),
            {"mode": "answer", "match": {"contains": "disable"}, "params": {"text": "Turn it off in the settings."}},
            {"mode": "answer", "match": {"contains": "enable"}, "params": {"text": "Turn it on in the settings."}},
        )
        _wait_for_model(installation)
        yield installation


def _wait_for_model(installation: Installation) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while "embedded by" not in (
        said := httpx2.get(f"{installation.url}/health", verify=False).json()["components"]["semantic"]["detail"]
    ):
        assert time.monotonic() < deadline, f"tier 2 does not serve: {said}"
        time.sleep(0.05)


@pytest.fixture
def caller(running: Installation) -> Iterator[httpx2.Client]:
    """A new organisation whose policy allows one wrong answer in five."""
    organization = running.signup()
    with organization.client() as client:
        _set_policy(client, organization, {"false_hit_bound": _BOUND})
        client.organization = organization  # type: ignore[attr-defined]
        yield client


def _set_policy(client: httpx2.Client, organization: Organization, cache: dict[str, Any]) -> None:
    answer = client.post(f"/governance/policies/{organization.id}", json={"cache": cache})
    assert answer.status_code == 200, answer.text


def _ask(client: httpx2.Client, prompt: str, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    answer = client.post("/infer", json={"prompt": prompt, **fields}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer


def _state(client: httpx2.Client, prompt: str, **fields: Any) -> str:
    """`x-asahi-cache` of an answer."""
    return str(_ask(client, prompt, **fields).headers["x-asahi-cache"])


def _forms(prompt: str) -> Iterator[str]:
    """The prompt in ever new forms that differ in nothing that counts, for as long as a machine may be slow."""
    deadline = time.monotonic() + _WITHIN_S
    for marks in count(1):
        assert time.monotonic() < deadline, f"no form of {prompt!r} came to what it should in {_WITHIN_S} s"
        yield prompt + "?" * marks
        time.sleep(0.02)


def _until_hit(client: httpx2.Client, prompt: str, **fields: Any) -> httpx2.Response:
    """The first hit of tier 2: what is stored is found a moment later, and one in fifty hits is audited."""
    return next(
        answer
        for form in _forms(prompt)
        if (answer := _ask(client, form, **fields)).headers["x-asahi-cache"] == "hit; tier=2"
    )


def _strata(client: httpx2.Client) -> list[dict[str, Any]]:
    """What audits measured of questions that differ in more than their form, the surest first."""
    strata: list[dict[str, Any]] = client.get("/analytics/cache-performance").json()["data"]["tier2"]["strata"]
    return strata[1:]


def _audit(client: httpx2.Client, question: str, paraphrase: str) -> str:
    """Has a question kept and asks its paraphrase; the state of that answer, after what was to be judged is judged."""
    _until_hit(client, question)
    before = sum(one["audits"] for one in _strata(client))
    state = _state(client, paraphrase)
    deadline = time.monotonic() + _JUDGED_WITHIN_S
    while state == "miss" and sum(one["audits"] for one in _strata(client)) == before:
        if time.monotonic() > deadline:  # tier 2 was left aside this once: the machine is slow
            break
        time.sleep(0.02)
    return state


def test_what_differs_in_nothing_that_counts_is_answered_at_once(caller: httpx2.Client) -> None:
    hit = _until_hit(caller, "Hello!  what is a HEAT pump")
    body = hit.json()
    assert (body["cache_hit"], body["cache_tier"], body["tokens_input"], body["cost"]) == (True, 2, 0, 0)
    assert body["optimization_techniques"] == ["cache_tier_2"]
    assert body["savings_breakdown"] == {"cache_tier_2": body["cost_original"]}
    assert int(hit.headers["age"]) >= 0


def test_paraphrases_are_answered_once_audits_prove_the_rule_and_twins_never(caller: httpx2.Client) -> None:
    states: list[str] = []
    for subject in _SUBJECTS:
        states.append(_audit(caller, f"How do I clean the {subject}", f"How can I clean the {subject}?"))
        if states[-1] == "hit; tier=2":
            break
    assert states[-1] == "hit; tier=2", f"fifty clean audits prove a bound of {_BOUND}: {states}"
    assert len(states) >= 15, "no bound of 0.2 is proven by fewer clean audits"
    measured = caller.get("/analytics/cache-performance").json()["data"]
    proven = [one for one in _strata(caller) if one["state"] == "proven"]
    assert proven, measured["tier2"]
    assert all(one["audits"] >= 15 and one["wrong"] == 0 for one in proven)
    assert measured["tier2_error"] in {0, None}
    assert all(one["error_high"] <= 0.35 for one in proven)
    for subject in ("two-factor login", "dark mode", "backups"):
        assert _state(caller, f"How do I enable {subject}?") == "miss"
        twin = _ask(caller, f"How do I disable {subject}?", explain=True)
        assert twin.headers["x-asahi-cache"] == "miss", "the opposite is never served"
        assert "opposites" in twin.json()["cache_explanation"]
        assert twin.json()["response"] == "Turn it off in the settings."


def test_the_explanation_names_probability_age_evidence_and_bound(caller: httpx2.Client) -> None:
    explained = ""
    for subject in _SUBJECTS:  # the first that the machine is not too slow for
        _until_hit(caller, f"How do I clean the {subject}")
        answer = _ask(caller, f"How can I clean the {subject}?", explain=True)
        explained = answer.json()["cache_explanation"]
        if "x-asahi-degraded" not in answer.headers:
            break
    assert "insufficient_evidence" in explained
    assert "probability 0.9" in explained
    assert f"the bound is {_BOUND}" in explained
    assert "0 of " in explained


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"x-asahi-cache": "exact"}},
        {"headers": {"cache-control": "no-cache"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {"system": "Answer in one word."},
        {"temperature": 0.3},
        {"user_id": "somebody-else"},
    ],
)
def test_tier_2_is_off_where_another_answer_may_be_wanted(caller: httpx2.Client, fields: dict[str, Any]) -> None:
    _until_hit(caller, "What is an anchor", user_id="ann")
    answer = _ask(caller, "what is an anchor", **{"user_id": "ann", **fields})
    assert answer.headers["x-asahi-cache"] in {"miss", "bypass"}


def test_end_users_share_similar_answers_only_where_the_policy_says_all(caller: httpx2.Client) -> None:
    organization: Organization = caller.organization  # type: ignore[attr-defined]
    _until_hit(caller, "What is a saddle", user_id="ann")
    assert _state(caller, "what is a saddle", user_id="bob") == "miss"
    _set_policy(caller, organization, {"share_between_users": "all"})
    for subject in _SUBJECTS:
        _until_hit(caller, f"What is a {subject}", user_id="ann")
        if _state(caller, f"what is a {subject}", user_id="bob") == "hit; tier=2":
            return
    raise AssertionError("bob is never given what ann was answered")


def test_organizations_share_nothing(running: Installation, caller: httpx2.Client) -> None:
    _until_hit(caller, "What is a violin")
    with running.signup().client() as stranger:
        assert _state(stranger, "what is a violin") == "miss"


def test_native_protocols_ask_tier_2_too(caller: httpx2.Client) -> None:
    def ask(text: str, **fields: Any) -> str:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
        answer = caller.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-asahi-cache"])

    assert "hit; tier=2" in (ask(form) for form in _forms("What is a mirror"))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    assert {ask("What is a mirror", tools=[tool]), ask("Hello! What is a mirror?", tools=[tool])} == {"miss"}


def test_feedback_counts_against_the_bound(caller: httpx2.Client) -> None:
    hit = _until_hit(caller, "What is a kettle")
    request_id = hit.json()["request_id"]
    said = caller.post("/feedback", json={"request_id": request_id, "correct_cache_hit": False})
    assert said.status_code == 200, said.text
    measured = caller.get("/analytics/cache-performance").json()["data"]
    assert measured["tier2"]["reported_wrong"] == 1
    assert [tier["tier"] for tier in measured["tiers"]] == [2]


def test_dropping_answers_drops_what_similar_questions_would_find(caller: httpx2.Client) -> None:
    organization: Organization = caller.organization  # type: ignore[attr-defined]
    _until_hit(caller, "What is a pencil", user_id="ann")
    erased = caller.delete(f"/governance/users/ann/data?organization_id={organization.id}")
    assert erased.status_code == 200, erased.text
    assert _state(caller, "what is a pencil", user_id="ann") == "miss"


def test_without_its_store_tier_2_is_left_aside_and_said_to_be(tmp_path: Path) -> None:
    dead = {"cache": {"QDRANT_URL": "http://127.0.0.1:9"}}
    with running_installation(tmp_path / "data", environment=dead) as installation:
        _wait_for_model(installation)
        with installation.signup().client() as client:
            left_aside = 0
            for form in _forms("What is a number"):
                answer = _ask(client, form)
                assert answer.headers["x-asahi-cache"] == "miss"
                left_aside += "semantic" in answer.headers.get("x-asahi-degraded", "")
                said = client.get("/health").json()
                if left_aside and said["components"]["semantic"]["status"] == "degraded":
                    break
        assert said["status"] == "degraded"
        assert "ask providers" in said["components"]["semantic"]["detail"]
