"""Server-sent events: the data of each event, as bytes, whatever way the network cut them (WHATWG HTML, 9.2)."""

from asahi_router.domain.provider import FailureKind, ProviderFailure


class EventSplitter:
    """Cuts a stream into the data of its events. Comments, names and ids are dropped."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes.

        Raises:
            ProviderFailure: an event is too long.
        """
        buffer = self._rest + chunk if self._rest else chunk
        if b"\r" in buffer:
            held = b"\r" if buffer.endswith(b"\r") else b""
            buffer = buffer[: len(buffer) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            blocks = buffer.split(b"\n\n")
            self._rest = blocks.pop() + held
        else:
            blocks = buffer.split(b"\n\n")
            self._rest = blocks.pop()
        if len(self._rest) > self._max_event_bytes:
            raise ProviderFailure(FailureKind.FAILED, "an event of the answer is too long")
        return [data for block in blocks if (data := _data(block))]


def _data(block: bytes) -> bytes:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)
