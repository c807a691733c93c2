"""What has come of one answer so far: the basis of an estimate should it break off."""

from asahi.type.v1.usage_pb2 import Usage
from asahi_router.domain.provider import FailureKind, ProviderFailure, Received

_ENVELOPE_BYTES = 600


class Progress:
    """Counts while an answer comes."""

    __slots__ = ("answering", "ended", "pieces", "text_bytes", "usage")

    def __init__(self) -> None:
        self.answering = False
        """Whether the provider has begun to answer."""
        self.ended = False
        """Whether the last event of a stream was read."""
        self.text_bytes = 0
        self.pieces = 0
        self.usage: Usage | None = None

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
        return Received(self.text_bytes, self.pieces, self.usage)

    def failure(self, kind: FailureKind, message: str) -> ProviderFailure:
        """A failure in the midst of the answer."""
        return ProviderFailure(kind, message, received=self.received())
