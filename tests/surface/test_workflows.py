"""Tier 3: workflows are checked before anything is spent on them, answered, kept and told; documents are told apart."""

import json
from typing import Any

import pytest

from tests.installation import Organization
from tests.ledger import call_records
from tests.simulator import SimulatorControl


def step(name: str, prompt: str = "x", *needs: str, **fields: Any) -> dict[str, Any]:
    """A step."""
    return {"id": name, "prompt": prompt, "depends_on": list(needs), **fields}


@pytest.mark.parametrize(
    ("steps", "says", "param"),
    [
        pytest.param([], "length >= 1", "steps", id="none"),
        pytest.param([step(f"s{n}") for n in range(65)], "length <= 64, sent: 65 entries", "steps", id="too many"),
        pytest.param([step("a"), step("a")], "'a' is the id of steps[0] already", "steps[1].id", id="an id twice"),
        pytest.param([step("prompt")], "call the step something else", "steps[0].id", id="a name that is taken"),
        pytest.param([step("a b")], "matching regex", "steps[0].id", id="a name with a blank"),
        pytest.param([step("a", "x", "a")], "a → a is a circle", "steps", id="a step that waits for itself"),
        pytest.param(
            [step("a", "x", "c"), step("b", "x", "a"), step("c", "x", "b"), step("d", "x", "a")],
            "→ ",
            "steps",
            id="a circle",
        ),
        pytest.param([step("a"), step("b", "x", "z")], "no step 'z'; the steps are a, b", "steps[1].depends_on",
                     id="a step that is not there"),
        pytest.param([step("a", "{{z}}")], "{{z}} is no step", "steps[0].prompt", id="a reference to nothing"),
        pytest.param([step("a"), step("b", "{{ a }}")], "'a' is not in 'depends_on'; add it there", "steps[1].prompt",
                     id="a reference without a dependency"),
        pytest.param([step("a", "{{document}}")], "has no 'document'", "steps[0].prompt", id="no document"),
        pytest.param([step("a", dependson=[])], "steps[0]: there is no field 'dependson'", "steps[0].dependson",
                     id="an unknown field"),
        pytest.param([{"id": "a"}], "steps[0]: Object missing required field 'prompt'", "steps[0]", id="no prompt"),
        pytest.param([step("a", quality_threshold=9)], "<= 5", "steps[0].quality_threshold", id="too good"),
    ],
)  # fmt: skip
def test_a_workflow_that_could_never_run_is_refused_where_it_is_wrong(
    caller: Organization, steps: list[Any], says: str, param: str
) -> None:
    with caller.client() as client:
        answer = client.post("/infer", json={"prompt": "x", "steps": steps})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert says in error["message"]
    assert error["param"] == param


def test_a_circle_is_named_in_the_order_in_which_its_steps_wait(caller: Organization) -> None:
    steps = [step("a", "x", "b"), step("b", "x", "c"), step("c", "x", "a"), step("d", "x", "a")]
    with caller.client() as client:
        message = client.post("/infer", json={"prompt": "x", "steps": steps}).json()["error"]["message"]
    assert any(f"{circle} is a circle" in message for circle in ("a → b → c → a", "b → c → a → b", "c → a → b → c"))


_STEPS = [step("s1", "Summarise {{document}}", type="summarize"), step("s2", "{{s1}}: {{prompt}}", "s1")]
_QUESTION = {"prompt": "Who?", "document": "A text.", "document_id": "contract", "steps": _STEPS}


def test_a_workflow_is_answered_with_what_each_step_cost(caller: Organization) -> None:
    control = SimulatorControl(caller.installation.url_of("simulator"))
    with caller.client() as client:
        first, again = (client.post("/infer", json=_QUESTION) for _ in range(2))
        assert first.status_code == 200, first.text
        body = first.json()
        calls = control.calls(body["request_id"])
        listed = client.get("/analytics/recent-inferences").json()["data"]
    steps = body["steps"]
    assert [(one["id"], one["tier"]) for one in steps] == [("s1", 0), ("s2", 0)]
    assert round(sum(one["cost"] for one in steps) * 1e9) == round(body["cost"] * 1e9) > 0
    assert body["tokens_output"] == sum(call["completion_tokens"] for call in calls)
    assert len(calls) == 2
    assert "2 steps" in body["routing_reason"]
    assert again.headers["x-asahi-cache"] == "hit; tier=3"
    assert again.json()["response"] == body["response"]
    assert (again.json()["cost"], again.json()["optimization_techniques"]) == (0, ["cache_tier_3"])
    assert [one["tier"] for one in again.json()["steps"]] == [3, 3]
    assert {one["request_id"] for one in listed} >= {body["request_id"]}


def test_the_answering_step_is_streamed(caller: Organization) -> None:
    with caller.client() as client:
        answer = client.post("/infer", json={**_QUESTION, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.partition(": ")[2] for line in answer.text.splitlines() if line.startswith("event: ")]
    assert (events[0], events[-1]) == ("decision", "done")
    assert events.count("delta") > 1
    data = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert "".join(one["text"] for one in data[1:-1]) == data[-1]["response"]
    assert [one["id"] for one in data[-1]["steps"]] == ["s1", "s2"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_step_that_fails_is_named(caller: Organization, stream: bool) -> None:
    steps = [step("s1", "Summarise {{document}}"), step("s2", "{{s1}}", "s1", quality_threshold=5)]
    with caller.client() as client:
        answer = client.post("/infer", json={**_QUESTION, "steps": steps, "stream": stream})
        again = client.post("/infer", json={**_QUESTION, "steps": steps[:1]}).json()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "no_model_satisfies", "steps[1]")
    assert error["message"].startswith("Step 's2': ")
    assert again["steps"][0]["tier"] == 3, "what had been answered is kept"


def test_a_steps_own_quality_needs_autopilot(caller: Organization) -> None:
    body = {**_QUESTION, "steps": [step("s1", quality_threshold=3)], "routing_mode": "guided"}
    with caller.client() as client:
        answer = client.post("/infer", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "steps[0].quality_threshold")


def test_a_workflow_within_a_budget_that_is_too_small_is_refused_at_the_step(caller: Organization) -> None:
    with caller.client() as client:
        answer = client.post("/infer", json={**_QUESTION, "cost_budget": 1e-9})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "steps[0]")


@pytest.mark.parametrize(
    ("headers", "policy"),
    [({"x-asahi-cache": "off"}, {}), ({"x-asahi-cache": "exact"}, {}), ({}, {"cache": {"tiers": [1]}})],
    ids=["off", "exact", "policy"],
)
def test_tier_3_can_be_left_aside(caller: Organization, headers: dict[str, str], policy: dict[str, Any]) -> None:
    with caller.client() as client:
        if policy:
            client.post(f"/governance/policies/{caller.id}", json=policy).raise_for_status()
        answers = [client.post("/infer", json=_QUESTION, headers=headers) for _ in range(2)]
    assert [answer.headers["x-asahi-cache"] for answer in answers] == ["bypass", "bypass"]


def test_results_of_steps_go_with_their_document_and_with_their_user(caller: Organization) -> None:
    def tiers(client: Any) -> list[int]:
        return [one["tier"] for one in client.post("/infer", json={**_QUESTION, "user_id": "ada"}).json()["steps"]]

    with caller.client() as client:
        tiers(client)
        assert tiers(client) == [3, 3]
        dropped = client.request("DELETE", "/governance/cache", json={"document_id": "contract"}).json()["dropped"]
        assert dropped == 2
        assert tiers(client) == [0, 0]
        receipt = client.delete("/governance/users/ada/data").json()
        assert {one["store"]: one["erased"] for one in receipt["erased"]}["cache.answers"] == 2
        assert tiers(client) == [0, 0]


def test_a_workflow_is_made_once_for_its_key(caller: Organization) -> None:
    control = SimulatorControl(caller.installation.url_of("simulator"))
    headers = {"idempotency-key": "once", "x-asahi-cache": "off"}
    with caller.client() as client:
        first, again = (client.post("/infer", json=_QUESTION, headers=headers) for _ in range(2))
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert len(control.calls(first.json()["request_id"])) == 2
    assert len(call_records(caller.installation.data, caller.id)) <= 2


def test_a_document_is_part_of_the_question(caller: Organization) -> None:
    with caller.client() as client:
        answers = [
            client.post("/infer", json={"prompt": "Who signed it?", **more})
            for more in ({"document": "By Ada."}, {"document": "By Bob."}, {}, {"document": "By Ada."})
        ]
    assert [answer.headers["x-asahi-cache"] for answer in answers] == ["miss", "miss", "miss", "hit; tier=1"]
    assert answers[0].json()["tokens_input"] > answers[2].json()["tokens_input"]
    assert answers[3].json()["response"] == answers[0].json()["response"]


def test_questions_about_a_document_share_the_providers_cached_prefix(caller: Organization) -> None:
    calls = SimulatorControl(caller.installation.url_of("simulator")).calls
    with caller.client() as client:
        read = []
        for prompt in ("Who?", "When?"):
            question = {"prompt": prompt, "document": "word " * 3000, "routing_mode": "explicit",
                        "model_override": "gpt-6-luna"}  # fmt: skip
            answer = client.post("/infer", json=question).json()
            read.append(answer["tokens_input_cached"])
            assert len(calls(answer["request_id"])) == 1
    assert read[0] == 0
    assert read[1] > 2000


def test_a_provider_that_must_be_asked_keeps_a_document_that_comes_again(caller: Organization) -> None:
    control = SimulatorControl(caller.installation.url_of("simulator"))
    asked = {"document": "word " * 5000, "routing_mode": "explicit", "model_override": "claude-sonnet-5-5"}
    with caller.client() as client:
        answers = [client.post("/infer", json={**asked, "prompt": f"Question {n}?"}).json() for n in range(3)]
    calls = [control.calls(answer["request_id"])[0] for answer in answers]
    assert [call["cache_write_5m_tokens"] > 0 for call in calls] == [False, True, False]
    assert [call["cached_tokens"] > 4000 for call in calls] == [False, False, True]
    saved = [answer["savings_breakdown"].get("provider_prompt_cache", 0) for answer in answers]
    assert saved[0] == 0
    assert saved[1] < 0 < saved[2], "writing costs more, reading much less"
    assert -saved[1] < saved[2]
    for answer in answers:
        difference = round(1e9 * answer["cost_original"]) - round(1e9 * answer["cost"])
        assert round(1e9 * sum(answer["savings_breakdown"].values())) == difference
        assert "The document is sent first" in answer["routing_reason"]
    assert "provider_prompt_cache" in answers[2]["optimization_techniques"]


def test_a_documents_name_without_the_document_is_refused(caller: Organization) -> None:
    with caller.client() as client:
        answer = client.post("/infer", json={"prompt": "x", "document_id": "contract-7"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "document")
