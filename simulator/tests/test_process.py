"""The simulator as a process: settings, waiting times, the end."""

import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from simulator.tests.running import RunningSimulator, running_simulator

BODY: dict[str, Any] = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "How do I plan a garden?"}]}
_CHAT = "/v1/chat/completions"


def _text(simulator: RunningSimulator) -> str:
    text: str = simulator.post(_CHAT, BODY).json()["choices"][0]["message"]["content"]
    return text


def test_the_text_is_the_same_in_another_process_unless_it_shall_differ() -> None:
    with running_simulator() as one, running_simulator() as other:
        assert _text(one) == _text(other)
    with running_simulator(ASAHI_SIMULATOR_DETERMINISTIC="false") as varied:
        assert len({_text(varied) for _ in range(5)}) == 5


def test_the_length_of_answers_and_the_known_models_are_settings() -> None:
    with running_simulator(
        ASAHI_SIMULATOR_ANSWER_TOKENS="17",
        ASAHI_SIMULATOR_MODELS="gpt-6-luna, gpt-5*",
        ASAHI_SIMULATOR_REFUSE_UNKNOWN_MODELS="true",
    ) as simulator:
        assert simulator.post(_CHAT, BODY).json()["usage"]["completion_tokens"] == 17
        assert simulator.post(_CHAT, {**BODY, "model": "gpt-5.5"}).status_code == 200
        refused = simulator.post(_CHAT, {**BODY, "model": "gpt-9"})
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "model_not_found"
        assert "gpt-9" in refused.json()["error"]["message"]


def test_an_answer_under_way_is_finished_after_sigterm() -> None:
    with running_simulator() as simulator:
        simulator.rules({"mode": "slow", "params": {"tokens_per_second": 100}})
        answers: list[int] = []

        def ask() -> None:
            answers.append(simulator.post(_CHAT, BODY).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        while simulator.totals()["under_way"] == 0:
            time.sleep(0.01)
        simulator.process.terminate()
        asking.join(60)
        assert answers == [200]
        assert simulator.process.wait(60) == 0


def test_a_believable_speed_takes_its_time() -> None:
    with running_simulator(ASAHI_SIMULATOR_SPEED="1") as simulator:
        answer = simulator.post(_CHAT, BODY)
        assert answer.elapsed.total_seconds() >= 0.1


def test_health_and_unknown_paths(simulator: RunningSimulator) -> None:
    assert simulator.get("/health").json() == {"status": "healthy", "provider": "simulator"}
    unknown = simulator.get("/v1/nothing")
    assert unknown.status_code == 404
    assert "/v1/nothing" in unknown.json()["error"]["message"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ASAHI_SIMULATOR_SPEED", "-1"), ("ASAHI_SIMULATOR_ADDRESS", "nowhere"), ("ASAHI_SIMULATOR_ADDRESS", "busy")],
)
def test_a_wrong_setting_ends_the_process_with_its_name(variable: str, value: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        told = f"127.0.0.1:{busy.getsockname()[1]}" if value == "busy" else value
        ended = subprocess.run(
            [sys.executable, "-m", "asahi_simulator"],
            env={"PATH": os.environ["PATH"], variable: told},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == os.EX_CONFIG
    assert variable in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
