"""Structured logs on stdout that never carry secrets or prompts.

Events are names with fields, never sentences with values glued in. Prompts and answers are never passed to a logger;
secrets that slip into a field are blanked here. A line that cannot be written is lost, and nothing else with it.
"""

import logging
import re
import sys
from typing import Any, TextIO

import msgspec
import structlog
from prometheus_client import Counter
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from asahi_core.context import current_call

_SECRET_FIELD = re.compile(r"(api_?key|authorization|secret|password|token)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"ask_[0-9A-Za-z]{8}_[0-9A-Za-z]{8,}|sk-[0-9A-Za-z_-]{8,}|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
_BLANK = "[redacted]"
_LOST = Counter("asahi_log_lines_lost", "Lines of the log that could not be written, on a full disk for instance.")


def configure_logs(service: str, level: str, log_format: str, stream: TextIO = sys.stdout) -> FilteringBoundLogger:
    """Sets up the process's logs and returns the service's logger; the standard library's loggers are led into it."""
    renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if log_format == "text" else _render_json
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _add_request_id,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=True,
    )
    logger: FilteringBoundLogger = structlog.get_logger(service=service)
    # Libraries are heard when something is wrong, or when all is wanted.
    least = logging.DEBUG if level == "debug" else max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()])
    logging.basicConfig(handlers=[_StandardLogs(logger)], level=least, force=True)
    return logger


class _Lines:
    """Writes lines. Who logs is never told that the log could not be written: whatever was under way goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Writes one line at once."""
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError:
            _LOST.inc()

    log = debug = info = warning = error = critical = exception = msg


class _StandardLogs(logging.Handler):
    """Leads records of libraries that use the standard library's logging into the structured log."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        level = logging.getLevelName(record.levelno).lower()
        log = getattr(self._logger, level, self._logger.info)
        log("library_message", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = current_call.get().request_id
    if request_id:
        event.setdefault("request_id", request_id)
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if _SECRET_FIELD.search(name) and value:
            event[name] = _BLANK
        elif isinstance(value, str):
            event[name] = _SECRET_VALUE.sub(_BLANK, value)
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=_plain).decode()


def _plain(value: Any) -> str:
    return str(value)
