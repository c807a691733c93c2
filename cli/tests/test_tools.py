"""The tools for people, against a real installation: five services and the simulator."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from asahi_cli.credentials import read_credentials
from asahi_core.ids import SystemIds
from asahi_core.keys import mint_key
from cli.tests.installation import GUARD_S, REAL, Installation

UNAVAILABLE, NO_PERMISSION, WRONG_CONFIGURATION = 69, 77, 78


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def asahi(*words: str, data_dir: Path | None = None, **environment: str) -> Outcome:
    """Runs the command as a person would, with nothing of Asahi in the environment but what is given."""
    base = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    folder = {"ASAHI_DATA_DIR": str(data_dir)} if data_dir else {}
    done = subprocess.run(
        [sys.executable, "-m", "asahi_cli", *words],
        env={**base, **folder, **environment},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("real")
    with Installation(folder, command=REAL, ASAHI_SIMULATOR_SPEED="0") as running:
        yield running.wait_ready()
        running.send(signal.SIGINT)
        assert running.wait_end() == 0
        assert not running.orphans()


def test_the_request_to_paste_works_and_costs_nothing_the_second_time(installation: Installation) -> None:
    text = installation.output
    paste = text[text.index("curl -X POST") : text.index("Ctrl-C ends")].strip()
    answers = []
    for _ in range(2):
        done = subprocess.run(["sh", "-c", f"{paste} -s"], capture_output=True, text=True, timeout=GUARD_S, check=True)
        answers.append(json.loads(done.stdout))
    first, second = answers
    assert first["provider"] == "simulator"
    assert first["cost"] > 0
    assert (second["cost"], second["cache_tier"]) == (0, 1)
    assert second["response"] == first["response"]
    installation.wait_for(r"^edge +request POST /infer 200 .* model=\S+ cache=miss cost=\$0\.0\d+")


def test_ask_prints_the_answer_alone_on_stdout(installation: Installation) -> None:
    asked = asahi("ask", "What is a lock?", data_dir=installation.data_dir)
    assert asked.code == 0
    assert asked.out.strip()
    assert "simulator · cost $0." in asked.err
    again = asahi("ask", "What is a lock?", data_dir=installation.data_dir)
    assert again.out == asked.out
    assert "from the cache (tier 1)" in again.err
    assert "cost $0," in again.err


def test_ask_names_a_model_a_quality_or_leaves_the_cache_aside(installation: Installation) -> None:
    def answer(*words: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(asahi("ask", *words, "--json", data_dir=installation.data_dir).out)
        return found

    assert answer("One.", "--model", "gpt-6-luna")["model_used"] == "gpt-6-luna"
    assert answer("Two.", "--quality", "low")["routing_mode"] == "guided"
    assert [answer("Three.", "--no-cache")["cache_hit"] for _ in range(2)] == [False, False]


def test_ask_tells_the_servers_own_words_when_it_is_refused(installation: Installation) -> None:
    refused = asahi("ask", "x", "--model", "gpt-nonsense", data_dir=installation.data_dir)
    assert refused.code == 1
    assert refused.out == ""
    assert refused.err.startswith("asahi: ")
    assert "gpt-nonsense" in refused.err
    assert "(404, model_not_found, request " in refused.err
    assert len(refused.err.splitlines()) == 1


def test_usage_is_the_ledgers_to_the_last_digit(installation: Installation) -> None:
    asahi("ask", "How much?", data_dir=installation.data_dir)
    told = json.loads(asahi("usage", "--json", data_dir=installation.data_dir).out, parse_float=Decimal)["data"]
    shown = asahi("usage", data_dir=installation.data_dir)
    assert shown.code == 0
    assert f"${told['total_cost'].normalize():f}" in shown.out
    month = asahi("usage", "--calendar", "month", data_dir=installation.data_dir)
    assert "tokens output" in month.out


def test_a_made_key_works_until_it_is_revoked(installation: Installation) -> None:
    made = asahi("keys", "create", "ci", "--scope", "infer", "--scope", "analytics", data_dir=installation.data_dir)
    assert made.code == 0
    key, key_id = made.out.strip(), made.err.split()[1]
    url = read_credentials(installation.data_dir).url
    assert asahi("usage", ASAHI_URL=url, ASAHI_API_KEY=key).code == 0
    refused = asahi("keys", "list", ASAHI_URL=url, ASAHI_API_KEY=key)
    assert refused.code == NO_PERMISSION
    assert "insufficient_scope" in refused.err
    assert key_id in asahi("keys", "list", data_dir=installation.data_dir).out
    assert asahi("keys", "revoke", key_id, data_dir=installation.data_dir).code == 0
    assert key_id not in asahi("keys", "list", data_dir=installation.data_dir).out
    assert key_id in asahi("keys", "list", "--all", data_dir=installation.data_dir).out
    revoked = asahi("usage", ASAHI_URL=url, ASAHI_API_KEY=key)
    assert revoked.code == NO_PERMISSION
    assert "invalid_api_key" in revoked.err


def test_models_show_price_and_state(installation: Installation) -> None:
    shown = asahi("models", data_dir=installation.data_dir)
    catalog = json.loads(asahi("models", "--json", data_dir=installation.data_dir).out, parse_float=Decimal)["data"]
    priced = next(model for model in catalog if model["prices"] and model["provider"])
    line = next(line for line in shown.out.splitlines() if line.startswith(f"{priced['id']} "))
    assert f" {Decimal(priced['prices']['input_per_million']).normalize():f} " in line
    assert "simulator" in line
    assert "available" in line


def test_doctor_finds_nothing_wrong_with_a_sound_installation(installation: Installation) -> None:
    found = asahi("doctor", data_dir=installation.data_dir)
    assert found.code == 0, found.out + found.err
    assert "✗" not in found.out
    assert "✓ key" in found.out
    assert "simulator" in found.out
    assert json.loads(asahi("doctor", "--json", data_dir=installation.data_dir).out)["status"] == "good"


def test_doctor_tells_a_mistyped_key_and_one_of_elsewhere(installation: Installation) -> None:
    kept = read_credentials(installation.data_dir)
    mistyped = asahi("doctor", data_dir=installation.data_dir, ASAHI_API_KEY=kept.api_key[:-1] + "~")
    assert mistyped.code == 1
    assert "mistyped" in mistyped.out
    foreign = asahi("doctor", data_dir=installation.data_dir, ASAHI_API_KEY=mint_key(SystemIds()))
    assert foreign.code == 1
    assert "✗ key" in foreign.out
    assert "not valid here" in foreign.out


def test_doctor_names_a_service_that_is_down_while_it_is(installation: Installation) -> None:
    billing = installation.program("billing")
    billing.suspend()
    try:
        found = asahi("doctor", data_dir=installation.data_dir)
    finally:
        billing.resume()
    assert "! billing" in found.out
    assert "to mend it" in found.out


def test_a_killed_service_comes_back_and_answers_again(installation: Installation) -> None:
    installation.program("router").kill()
    installation.wait_for("router serves again")
    answers = (asahi("ask", "Are you back?", data_dir=installation.data_dir) for _ in range(20))
    assert any(answer.code == 0 for answer in answers)  # the edge may take a moment to find it again


def test_nothing_that_answers_is_told_with_the_way_to_start_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    asked = asahi("ask", "x", ASAHI_URL=url, ASAHI_API_KEY="ask_x", data_dir=tmp_path)
    assert asked.code == UNAVAILABLE
    assert "asahi up" in asked.err
    assert len(asked.err.splitlines()) == 1
    found = asahi("doctor", ASAHI_URL=url, data_dir=tmp_path)
    assert found.code == 1
    assert "✗ edge" in found.out
    assert "asahi up" in found.out


def test_a_server_that_is_not_asahi_is_told(tmp_path: Path, installation: Installation) -> None:
    line = installation.wait_for("^simulator serving")
    url = line.split("address=")[1].split()[0]
    asked = asahi("models", ASAHI_URL=url, ASAHI_API_KEY="ask_x", data_dir=tmp_path)
    assert asked.code == 1
    assert len(asked.err.splitlines()) == 1


def test_a_wrong_setting_of_a_real_service_is_one_line_with_its_variable(tmp_path: Path) -> None:
    with Installation(tmp_path, command=REAL, ASAHI_CACHE_MAX_BYTES="plenty") as running:
        assert running.wait_end() == WRONG_CONFIGURATION
        assert running.lines[-1].startswith("asahi: asahi-cache: ASAHI_CACHE_MAX_BYTES: ")
        assert not running.programs()


def test_the_real_services_leave_no_orphan_when_their_parent_is_killed(tmp_path: Path) -> None:
    with Installation(tmp_path, command=REAL) as running:
        running.wait_ready().send(signal.SIGKILL)
        running.wait_end()
        assert not running.orphans()


def test_a_second_start_on_the_same_folder_keeps_the_key(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with Installation(tmp_path, command=REAL) as running:
            running.wait_ready()
            found = read_credentials(running.data_dir)
            answer = httpx2.get(
                f"{found.url}/models", headers={"x-api-key": found.api_key}, trust_env=False, verify=False
            )
            assert answer.status_code == 200
            keys.append(found.api_key)
            running.send(signal.SIGTERM)
            assert running.wait_end() == 0
    assert keys[0] == keys[1]
