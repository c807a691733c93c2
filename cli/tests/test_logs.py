"""Log lines as people see them."""

import io
import json

from asahi_cli.laptop.logs import RawLog, ReadableLog
from asahi_cli.terminal import Output


def read(line: str, *, name: str = "edge", colour: bool = False) -> str:
    stream = io.StringIO()
    ReadableLog(Output(stream, lambda: None), colour=colour).line(name, line)
    return stream.getvalue()


def event(**fields: object) -> str:
    return json.dumps({"service": "edge", "level": "info", "timestamp": "2026-11-24T10:00:00Z"} | fields)


def test_a_request_reads_as_method_path_status_time_and_facts() -> None:
    line = event(
        event="request", method="POST", path="/infer", status=200, ms=12.4, model="gpt-6-luna", cost_usd="0.01"
    )
    assert read(line) == "edge      request POST /infer 200 12 ms model=gpt-6-luna cost=$0.01\n"


def test_the_id_of_a_request_is_shown_where_somebody_will_look_for_it() -> None:
    fields = {"event": "request", "method": "GET", "path": "/infer", "ms": 1.0, "request_id": "0199"}
    assert "0199" not in read(event(status=200, **fields))
    assert "request_id=0199" in read(event(status=503, **fields))
    assert "request_id=0199" in read(event(event="slow", level="warning", request_id="0199"))


def test_a_line_that_is_no_log_line_goes_through_unchanged() -> None:
    for line in ["Traceback (most recent call last):", '{"half', '{"not": "an event"}', "[1]", "  indented", ""]:
        assert read(line, name="auth") == f"auth      {line}\n"


def test_a_deeply_nested_line_goes_through_unchanged() -> None:
    line = '{"event": ' + "[" * 100_000
    assert read(line) == f"edge      {line}\n"


def test_a_traceback_keeps_its_lines() -> None:
    line = event(event="call_failed", level="error", exception="Traceback:\n  File x\nValueError")
    assert read(line).splitlines() == [
        "edge      call_failed",
        "          Traceback:",
        "            File x",
        "          ValueError",
    ]


def test_what_callers_send_cannot_steer_the_terminal() -> None:
    line = event(event="request", method="GET", path="/\x1b]0;owned\x07\r/x", status=404, ms=1)
    assert "\x1b" not in read(line)
    assert "\\x1b]0;owned\\x07\\r/x" in read(line)


def test_odd_types_of_fields_do_not_stop_the_log() -> None:
    line = event(event=3, status="many", ms=None, path=None, level=7, exception=["x"])
    assert read(line).startswith("edge      3 ")


def test_warnings_stand_out_and_routine_stands_back() -> None:
    assert "\x1b[33m" in read(event(event="slow", level="warning"), colour=True)
    assert "\x1b[31m" in read(event(event="failed", level="error"), colour=True)
    assert "\x1b[2m" in read(event(event="request", method="GET", path="/health", status=200, ms=1), colour=True)


def test_raw_lines_are_what_the_program_printed() -> None:
    stream = io.StringIO()
    log = RawLog(Output(stream, lambda: None))
    log.line("edge", '{"event":"x"}')
    log.say("crashed", "cache ended", program="cache")
    assert stream.getvalue().splitlines()[0] == '{"event":"x"}'
    assert json.loads(stream.getvalue().splitlines()[1])["program"] == "cache"
