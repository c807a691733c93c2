"""What travels with a request through every hop: its id, its trace, its deadline."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallContext:
    """The request under way in the current task."""

    request_id: str = ""
    """Asahi's own id of the request (UUIDv7); empty outside a request."""
    traceparent: str = ""
    """W3C trace context; empty: not traced."""
    deadline: float | None = None
    """Event-loop time (`loop.time()`, seconds) at which the caller gives up; None: each call's own limit."""


NO_CALL = CallContext()

current_call: ContextVar[CallContext] = ContextVar("current_call", default=NO_CALL)
