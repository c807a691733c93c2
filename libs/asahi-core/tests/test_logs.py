"""Logs: one line an event, with the request's id, and never a secret."""

import errno
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.typing import FilteringBoundLogger

from asahi_core.context import CallContext, current_call
from asahi_core.ids import SystemIds
from asahi_core.keys import mint_key
from asahi_core.logs import configure_logs

_KEY = mint_key(SystemIds())
_PROVIDER_KEY = "sk-proj-abcdefghijklmnop"


class _Log:
    def __init__(self, level: str = "debug", log_format: str = "json") -> None:
        self.stream = io.StringIO()
        self.log: FilteringBoundLogger = configure_logs("edge", level, log_format, self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize(
    "fields",
    [
        {"detail": f"sent {_KEY} twice: {_KEY}"},
        {"detail": f"Bearer {_PROVIDER_KEY}"},
        {"url": "postgresql://asahi:hunter2-long@db/asahi"},
        {"authorization": "hunter2-long"},
        {"openai_api_key": "hunter2-long"},
        {"apikey": "hunter2-long"},
        {"admin_secret": "hunter2-long"},
        {"Password": "hunter2-long"},
        {"page_token": "hunter2-long"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_secrets_are_blanked_whichever_field_they_slip_into(fields: dict[str, str], log_format: str) -> None:
    log = _Log(log_format=log_format)
    log.log.info("something", **fields)
    assert "[redacted]" in log.text
    for secret in (_KEY, _KEY[13:], _PROVIDER_KEY, "hunter2"):
        assert secret not in log.text


def test_secrets_in_tracebacks_are_blanked() -> None:
    log = _Log()
    try:
        raise ValueError(f"cannot use {_KEY} at redis://:hunter2@redis:6379")
    except ValueError:
        log.log.exception("failed")
    assert "ValueError" in log.text
    assert _KEY not in log.text
    assert "hunter2" not in log.text


def test_secrets_in_what_libraries_log_are_blanked() -> None:
    log = _Log()
    logging.getLogger("httpx").warning("POST with %s", _PROVIDER_KEY)
    (event,) = log.events
    assert event["event"] == "library_message"
    assert event["logger"] == "httpx"
    assert _PROVIDER_KEY not in log.text


def test_what_is_no_secret_stays_as_it_is() -> None:
    log = _Log()
    log.log.info("request", path="/infer", tokens=12, url="https://example.com/a?b=c", prefix=_KEY[:12])
    (event,) = log.events
    assert (event["path"], event["tokens"], event["url"]) == ("/infer", 12, "https://example.com/a?b=c")
    assert event["prefix"] == _KEY[:12]
    assert (event["event"], event["level"], event["service"]) == ("request", "info", "edge")


def test_events_of_a_request_carry_its_id() -> None:
    log = _Log()
    token = current_call.set(CallContext(request_id="r-1"))
    log.log.info("inside")
    current_call.reset(token)
    log.log.info("outside")
    assert [event.get("request_id") for event in log.events] == ["r-1", None]


def test_levels_below_the_one_asked_for_are_silent_and_libraries_speak_up_only_when_something_is_wrong() -> None:
    log = _Log(level="info")
    log.log.debug("silent")
    logging.getLogger("grpc").info("silent too")
    logging.getLogger("grpc").error("heard")
    assert [event["event"] for event in log.events] == ["library_message"]


def test_values_without_a_json_form_are_written_as_text() -> None:
    log = _Log()
    log.log.info("odd", value=object, error=ValueError("x"))
    (event,) = log.events
    assert event["error"] == "x"


class _FullDisk(io.StringIO):
    full = True

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_is_lost_alone_and_later_ones_are_written() -> None:
    disk = _FullDisk()
    log = configure_logs("edge", "info", "json", disk)
    log.error("spool_write_failed")
    logging.getLogger("grpc").error("it failed")
    disk.full = False
    log.info("serving")
    assert '"event":"serving"' in disk.getvalue()
