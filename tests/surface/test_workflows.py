"""Tier 3, first form: documents are answered and told apart, workflows are checked before anything is spent on them."""

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


@pytest.mark.parametrize("stream", [False, True])
def test_a_workflow_that_could_run_is_not_run_yet_and_costs_nothing(caller: Organization, stream: bool) -> None:
    steps = [step("s1", "Summarise {{document}}", type="summarize"), step("s2", "{{s1}}: {{prompt}}", "s1")]
    question = {"prompt": "Who?", "document": "A text.", "steps": steps, "stream": stream}
    with caller.client() as client:
        answer = client.post("/infer", json=question)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_implemented")
    assert answer.headers["x-should-retry"] == "false"
    assert call_records(caller.installation.data, caller.id) == []


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


def test_a_documents_name_without_the_document_is_refused(caller: Organization) -> None:
    with caller.client() as client:
        answer = client.post("/infer", json={"prompt": "x", "document_id": "contract-7"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "document")
