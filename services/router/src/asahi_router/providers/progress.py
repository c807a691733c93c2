"""What has come of one answer so far: the basis of an estimate should it break off."""

from asahi.type.v1.usage_pb2 import Usage
from asahi_core.clock import Clock
from asahi_router.domain.provider import FailureKind, ProviderFailure, Received

_ENVELOPE_BYTES = 600


class Progress:
    """Counts while an answer comes."""

    __slots__ = ("_began", "_clock", "answering", "ended", "pieces", "sent_after_ms", "text_bytes", "usage")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self.sent_after_ms: float | None = None
        """Milliseconds until the question was on its way; None: it is not."""
        self.answering = False
        """Whether the provider has begun to answer."""
        self.ended = False
        """Whether the last event of a stream was read."""
        self.text_bytes = 0
        self.pieces = 0
        self.usage: Usage | None = None

    def sent(self) -> None:
        """The question is on its way."""
        self.sent_after_ms = (self._clock.monotonic() - self._began) * 1000

    def promise(self, body_bytes: int) -> None:
        """A plain answer of so many bytes (0: not said) begins: it is written, and so billed, as a whole."""
        self.answering = True
        self.text_bytes = max(0, body_bytes - _ENVELOPE_BYTES)

    def add(self, text: str) -> None:
        """A piece of text, tool arguments or thoughts."""
        self.pieces += 1
        self.text_bytes += len(text) if text.isascii() else len(text.encode())

    def received(self) -> Received:
        """What has come."""
        return Received(self.text_bytes, self.pieces, self.usage, self.sent_after_ms)

    def failure(self, kind: FailureKind, message: str) -> ProviderFailure:
        """A failure in the midst of the answer."""
        return ProviderFailure(kind, message, received=self.received())
