"""Prints the merged output of all programs: their JSON log lines readably, anything else as it is."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from asahi_cli.laptop.welcome import Welcome
from asahi_cli.terminal import Output, Style, plain, styled

OWN_NAME = "asahi"
_NAME_WIDTH = 10
_NAME_STYLES: Mapping[str, Style] = {
    "edge": "cyan", "auth": "magenta", "cache": "green", "router": "blue", "billing": "yellow",
}  # fmt: skip
_QUIET_EVENTS = ("serving", "stopping")
_QUIET_PATHS = ("/health", "/docs", "/redoc", "/openapi.json")
_TOLD_OTHERWISE = ("event", "level", "timestamp", "service", "exception", "method", "path", "status", "ms")
_NEEDS_ID = ("warning", "error", "critical")


class Log(Protocol):
    """Where lines go."""

    def line(self, name: str, line: str) -> None:
        """A line that the program `name` printed."""
        ...

    def say(self, event: str, sentence: str, **facts: object) -> None:
        """An event of our own; `sentence` says it to people, `facts` to programs."""
        ...

    def welcome(self, welcome: Welcome) -> None:
        """Everything is ready."""
        ...


class RawLog:
    """Lines as they come; what is our own as JSON, too."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def line(self, name: str, line: str) -> None:
        """Prints `line` as it is."""
        self._out.print(line)

    def say(self, event: str, sentence: str, **facts: object) -> None:
        """Prints the event as JSON."""
        self._out.print(json.dumps({"service": OWN_NAME, "event": event, "message": sentence, **facts}))

    def welcome(self, welcome: Welcome) -> None:
        """Prints an event `ready` with all but the secrets."""
        self.say("ready", "ready", **welcome.without_secrets())


class ReadableLog:
    """Lines for people: who, what, and the figures."""

    def __init__(self, out: Output, *, colour: bool) -> None:
        self._out = out
        self._colour = colour

    def line(self, name: str, line: str) -> None:
        """Prints `line` readably if it is JSON, else as it is."""
        fields = _fields_of(line)
        text = line if fields is None else self._readable(fields)
        self._out.print(self._name(name) + text)

    def say(self, event: str, sentence: str, **facts: object) -> None:
        """Prints the sentence."""
        self._out.print(self._name(OWN_NAME) + styled(plain(sentence), "bold", colour=self._colour))

    def welcome(self, welcome: Welcome) -> None:
        """Prints the whole text."""
        self._out.print(welcome.text(colour=self._colour))

    def _name(self, name: str) -> str:
        return styled(f"{name:<{_NAME_WIDTH}}", _NAME_STYLES.get(name, "bold"), colour=self._colour)

    def _readable(self, fields: Mapping[str, Any]) -> str:
        event, level = plain(str(fields["event"])), str(fields.get("level", "info"))
        words = [event, *self._request_words(fields)] if event == "request" else [event]
        status = fields.get("status")
        failed = level in _NEEDS_ID or (isinstance(status, int) and status >= 500)
        words += [
            f"{'cost' if name == 'cost_usd' else name}={_value(name, value)}"
            for name, value in fields.items()
            if not (name in _TOLD_OTHERWISE if event == "request" else name in _TOLD_OTHERWISE[:5])
            and (name != "request_id" or failed)
        ]
        text = styled(" ".join(words), *_line_styles(event, level, fields), colour=self._colour)
        trace = fields.get("exception")
        return text if not trace else text + "".join(f"\n{'':{_NAME_WIDTH}}{plain(t)}" for t in str(trace).split("\n"))

    def _request_words(self, fields: Mapping[str, Any]) -> list[str]:
        status, ms = fields.get("status", "?"), fields.get("ms")
        colour: Style = "green"
        if isinstance(status, int) and status >= 400:
            colour = "yellow" if status < 500 else "red"
        spent = [f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"] if isinstance(ms, int | float | Decimal) else []
        method, path = str(fields.get("method", "?")), str(fields.get("path", "?"))
        return [plain(method), plain(path), styled(str(status), colour, colour=self._colour), *spent]


def _fields_of(line: str) -> Mapping[str, Any] | None:
    """The fields of a log line, or None if it is none."""
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


def _line_styles(event: str, level: str, fields: Mapping[str, Any]) -> tuple[Style, ...]:
    if level in ("error", "critical"):
        return ("red",)
    if level == "warning":
        return ("yellow",)
    quiet = event in _QUIET_EVENTS or str(fields.get("path", "")).startswith(_QUIET_PATHS)
    return ("dim",) if quiet or level == "debug" else ()


def _value(name: str, value: object) -> str:
    if isinstance(value, str):
        text = plain(value)
        if name == "cost_usd":
            return f"${text}"
        return json.dumps(text, ensure_ascii=False) if not text or " " in text else text
    return plain(json.dumps(value, ensure_ascii=False))
