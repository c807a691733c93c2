"""Settings: read from the environment, validated before anything starts, and a clear last word if not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from asahi_core.settings import ServiceSettings, load_settings, refuse_to_start


class _Settings(ServiceSettings):
    port: int = Field(default=1, ge=1, le=65535)
    secret: SecretStr = Field(default=SecretStr(""))


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("ASAHI_", "OTEL_")):
            monkeypatch.delenv(name)


def test_a_field_is_the_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAHI_PORT", "8080")
    monkeypatch.setenv("ASAHI_DATA_DIR", "/data")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    settings = load_settings(_Settings, "edge")
    assert (settings.port, settings.data_dir) == (8080, Path("/data"))
    assert settings.otlp_endpoint == "http://collector:4317"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAHI_PORT", "")
    assert load_settings(_Settings, "edge").port == 1


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ASAHI_PORT", "many", "valid integer"),
        ("ASAHI_PORT", "0", "greater than or equal to 1"),
        ("ASAHI_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("ASAHI_TRACE_RATIO", "2", "less than or equal to 1"),
        ("ASAHI_SHUTDOWN_GRACE_SECONDS", "-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_ends_the_start_with_its_variable_and_what_is_accepted(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        load_settings(_Settings, "edge")
    assert ended.value.code == 78
    message = capsys.readouterr().err
    assert message.startswith(f"asahi-edge: {variable}: ")
    assert told in message
    assert len(message.splitlines()) == 1


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ASAHI_PORT", "0")
    monkeypatch.setenv("ASAHI_LOG_FORMAT", "xml")
    with pytest.raises(SystemExit):
        load_settings(_Settings, "edge")
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["ASAHI_LOG_FORMAT", "ASAHI_PORT"]


def test_secrets_are_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAHI_SECRET", "hunter2")
    assert "hunter2" not in repr(load_settings(_Settings, "edge"))


def test_settings_do_not_change_while_a_service_runs() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(_Settings, "edge").port = 2  # type: ignore[misc]  # that it cannot be set is the point


def test_a_refusal_is_one_line_and_exit_code_78(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        refuse_to_start("cache", "cannot listen on 127.0.0.1:1; choose another address")
    assert ended.value.code == 78
    assert capsys.readouterr().err == "asahi-cache: cannot listen on 127.0.0.1:1; choose another address\n"


def test_a_process_with_a_wrong_setting_ends_with_78_before_it_does_anything() -> None:
    program = (
        "from asahi_core.settings import ServiceSettings, load_settings\n"
        "load_settings(ServiceSettings, 'router'); print('started')"
    )
    environment = {**os.environ, "ASAHI_LOG_LEVEL": "loud"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr.startswith("asahi-router: ASAHI_LOG_LEVEL: ")
