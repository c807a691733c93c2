"""A conversation at a provider that keeps prompts only on request costs less: Asahi asks for it where that pays."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.installation import Installation, running_installation
from tests.simulator import SimulatorControl

MODEL = "claude-sonnet-5-5"
TURNS = 6


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation over the simulator."""
    with running_installation(tmp_path_factory.mktemp("caching")) as installation:
        yield installation


def talk(running: Installation, path: str, *, marked: bool = False, named: bool = False) -> list[dict[str, Any]]:
    """The answers of a conversation of several turns, the first of them some pages long."""
    organization, answers = running.signup(), []
    messages: list[dict[str, Any]] = []
    with organization.client() as client:
        changed = client.post(
            f"/governance/policies/{organization.id}", json={"allowed_models": [MODEL], "baseline_model": MODEL}
        )
        assert changed.status_code == 200, changed.text
        for turn in range(TURNS):
            text = "A word about pumps. " * (700 if turn == 0 else 40)
            part = {"type": "text", "text": f"{text}And then, {turn}?"}
            messages.append(
                {
                    "role": "user",
                    "content": [part | ({"cache_control": {"type": "ephemeral"}} if marked and not turn else {})],
                }
            )
            body = {"model": MODEL if named else "asahi", "messages": messages, "max_tokens": 200}
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            told = json.loads(answer.text, parse_float=Decimal)
            answers.append(told["asahi"])
            said = told["choices"][0]["message"]["content"] if "choices" in told else told["content"][0]["text"]
            messages.append({"role": "assistant", "content": said})
    return answers


def saved(answers: list[dict[str, Any]]) -> Decimal:
    """Dollars less than the same model costs without Asahi."""
    return sum((one["savings_usd"] for one in answers), Decimal(0))


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_later_turns_read_what_the_first_ones_wrote_and_the_difference_is_booked(
    running: Installation, path: str
) -> None:
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    answers = talk(running, path)
    calls = control.calls()
    assert [call["cache_write_5m_tokens"] > 0 for call in calls] == [False] + [True] * (TURNS - 1), "from the second on"
    assert [call["cached_tokens"] > 0 for call in calls] == [False] * 2 + [True] * (TURNS - 2)
    assert answers[0]["savings_usd"] == 0
    assert answers[1]["savings_usd"] < 0, "writing costs more than reading plainly"
    assert all(one["optimization_techniques"] == ["provider_prompt_cache"] for one in answers[2:])
    cost = sum((one["cost_usd"] for one in answers), Decimal(0))
    print(f"{path}: ${cost} in place of ${cost + saved(answers)}")
    assert saved(answers) > Decimal("0.2") * cost


@pytest.mark.parametrize("case", ["marked", "named"])
def test_what_the_caller_marks_or_sends_to_a_model_by_name_goes_on_as_it_is(running: Installation, case: str) -> None:
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    answers = talk(running, "/v1/messages", marked=case == "marked", named=case == "named")
    assert saved(answers) == 0
    written = sum(call["cache_write_5m_tokens"] for call in control.calls())
    assert (written > 0) == (case == "marked")
