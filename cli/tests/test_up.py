"""`asahi up` as a process, with stand-ins for the programs: starting, failing, restarting, ending."""

import json
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from asahi_cli.credentials import read_credentials
from cli.tests.installation import STAND_INS, Installation

PROGRAMS = {"edge", "auth", "cache", "router", "billing", "simulator"}
SECRET = "for-the-operator-alone"


def start(folder: Path, *options: str, **environment: str) -> Installation:
    return Installation(folder, *options, command=STAND_INS, ASAHI_STAND_IN_FOLDER=str(folder), **environment)


def environment_of(program: str, folder: Path) -> dict[str, str]:
    told: dict[str, str] = json.loads((folder / f"{program}.json").read_text())
    return told


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    with start(tmp_path) as installation:
        yield installation.wait_ready()


def test_everything_runs_and_the_welcome_has_what_one_needs(running: Installation) -> None:
    assert len(running.programs()) == len(PROGRAMS)
    kept = read_credentials(running.data_dir)
    assert running.told("URL") == kept.url
    assert running.told("API key") == kept.api_key
    assert running.told("Organization") == kept.organization_id
    assert running.told("Admin secret") == kept.admin_secret
    assert f"curl -X POST {kept.url}/infer" in running.output
    assert f'"organization_id": "{kept.organization_id}"' in running.output
    assert '"latency_budget_ms": 5000' in running.output
    assert "PROVIDER SIMULATOR" in running.output


def test_key_and_secret_are_for_their_owner_alone(running: Installation) -> None:
    assert stat.S_IMODE((running.data_dir / "credentials").stat().st_mode) == 0o600
    assert stat.S_IMODE(running.data_dir.stat().st_mode) == 0o700


def test_log_lines_are_readable_and_other_lines_unchanged(running: Installation) -> None:
    running.wait_for(r"^router    plain words of router$")
    running.wait_for(r"^edge      request POST /signup 201 1\.2 ms cost=\$0\.000001$")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_all_in_order(running: Installation, number: signal.Signals) -> None:
    running.send(number)
    assert running.wait_end() == 0
    assert not running.orphans()
    ended = [line.split()[0] for line in running.lines if line.endswith(" stopping")]
    assert ended == ["edge", "router", "cache", "auth", "billing", "simulator"]


def test_a_second_signal_ends_a_program_that_does_not_listen(tmp_path: Path) -> None:
    with start(tmp_path, ASAHI_STAND_IN_CACHE="deaf") as installation:
        installation.wait_ready().send(signal.SIGINT)
        installation.wait_for("^router .*stopping")
        while "ending everything at once" not in installation.output:
            installation.send(signal.SIGINT)
            time.sleep(0.1)
        assert installation.wait_end() == 0
        assert not installation.orphans()


def test_no_program_outlives_a_killed_parent(running: Installation) -> None:
    running.send(signal.SIGKILL)
    assert running.wait_end() == -signal.SIGKILL
    assert not running.orphans()


def test_a_crashed_service_is_started_again_and_told(running: Installation) -> None:
    running.program("cache").kill()
    running.wait_for(r"asahi .*cache ended \(killed by SIGKILL\); it starts again in 0\.5 s")
    running.wait_for("asahi .*cache serves again")
    assert running.program("cache").is_running()


def test_a_wrong_setting_of_a_service_ends_the_whole_with_its_message(tmp_path: Path) -> None:
    with start(tmp_path, ASAHI_STAND_IN_AUTH="refuse") as installation:
        assert installation.wait_end() == 78
        assert installation.lines[-1] == "asahi: asahi-auth: ASAHI_SOMETHING: Input should be a number"
        assert not installation.programs()


def test_a_program_that_cannot_start_ends_the_whole_with_its_last_words(tmp_path: Path) -> None:
    with start(tmp_path, ASAHI_STAND_IN_ROUTER="broken") as installation:
        assert installation.wait_end() == 1
        last = installation.lines[-1]
        assert last == "asahi: router does not start (exit code 1): ModuleNotFoundError: No module named 'absent'"


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(tmp_path, PORT=port) as installation:
            assert installation.wait_end() == 78
            assert len(installation.lines) == 1
            assert f"port {port} (HTTP) is in use" in installation.output
            assert "--port" in installation.output


def test_a_second_one_on_the_same_folder_is_refused_in_one_line(running: Installation) -> None:
    with start(running.folder) as second:
        assert second.wait_end() == 78
        assert len(second.lines) == 1
        assert f"in use by another `asahi up` (process {running.pid})" in second.output


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with start(tmp_path, ASAHI_DATA_DIR=str(tmp_path / "file" / "data")) as installation:
        assert installation.wait_end() == 78
        assert len(installation.lines) == 1
        assert "cannot be written" in installation.output
        assert "--data-dir" in installation.output


def test_the_next_start_keeps_key_and_secret(tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        with start(tmp_path) as installation:
            installation.wait_ready()
            found = read_credentials(installation.data_dir)
            kept.append((found.organization_id, found.api_key, found.admin_secret))
            installation.send(signal.SIGTERM)
            assert installation.wait_end() == 0
    assert kept[0] == kept[1]


def test_a_kept_key_that_no_longer_works_is_replaced(tmp_path: Path) -> None:
    with start(tmp_path) as installation:
        installation.wait_ready().send(signal.SIGTERM)
        installation.wait_end()
    old = read_credentials(tmp_path / "data")
    (tmp_path / "keys").unlink()
    with start(tmp_path) as installation:
        installation.wait_ready()
        new = read_credentials(tmp_path / "data")
    assert new.api_key != old.api_key
    assert new.admin_secret == old.admin_secret


def test_secrets_reach_only_whom_they_concern(tmp_path: Path) -> None:
    private = {"OPENAI_API_KEY": "sk-private", "ASAHI_ADMIN_SECRET": SECRET, "UNRELATED_TOKEN": "nobody's business"}
    with start(tmp_path, OPENAI_BASE_URL="http://127.0.0.1:9/v1", ASAHI_LOG_LEVEL="debug", **private) as installation:
        installation.wait_ready()
        assert "real providers" in installation.output
        told = {name: environment_of(name, tmp_path) for name in PROGRAMS - {"simulator"}}
    assert not (tmp_path / "simulator.json").exists()
    for variable, owner in [
        ("OPENAI_API_KEY", "router"),
        ("OPENAI_BASE_URL", "router"),
        ("ASAHI_ADMIN_SECRET", "edge"),
    ]:
        assert [name for name in told if variable in told[name]] == [owner]
    assert told["edge"]["ASAHI_ADMIN_SECRET"] == SECRET
    assert "ASAHI_SIMULATOR_URL" not in told["router"]
    for environment in told.values():
        assert environment["ASAHI_LOG_LEVEL"] == "debug"
        assert not {"UNRELATED_TOKEN", "ASAHI_API_KEY"} & environment.keys()


def test_without_a_provider_key_the_router_is_led_to_the_simulator(running: Installation) -> None:
    router, simulator = environment_of("router", running.folder), environment_of("simulator", running.folder)
    assert router["ASAHI_SIMULATOR_URL"] == f"http://{simulator['ASAHI_SIMULATOR_ADDRESS']}"


def test_raw_lines_are_json_and_carry_no_secret(tmp_path: Path) -> None:
    with start(tmp_path, "--json") as installation:
        ready = json.loads(installation.wait_for('"event": "ready"'))
        kept = read_credentials(tmp_path / "data")
        assert ready["url"] == kept.url
        assert ready["organization_id"] == kept.organization_id
        assert kept.api_key not in installation.output
        assert kept.admin_secret not in installation.output
        installation.send(signal.SIGTERM)
        assert installation.wait_end() == 0


def test_a_reader_that_goes_away_ends_everything(tmp_path: Path) -> None:
    with start(tmp_path) as installation:
        url = installation.wait_ready().told("URL")
        installation.stop_reading()
        for _ in range(2):
            httpx2.get(f"{url}/health/ready", trust_env=False, verify=False)
        assert installation.wait_end() == 0
        assert not installation.orphans()


def test_two_installations_run_side_by_side(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with start(folders[0]) as one, start(folders[1]) as two:
        assert one.wait_ready().told("URL") != two.wait_ready().told("URL")
