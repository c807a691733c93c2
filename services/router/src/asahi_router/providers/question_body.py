"""The body of a question on its way to the provider."""

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from asahi_router.providers.progress import Progress

_SLICE_BYTES = 1024 * 1024


class QuestionBody(Payload):
    """JSON that tells its call's progress when it is sent: only from then on the provider bills."""

    _autoclose = True

    def __init__(self, body: bytes, progress: Progress) -> None:
        super().__init__(body, content_type="application/json")
        self._size = len(body)
        self._body = body
        self._progress = progress

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Sends it, in slices so that a large one does not hold the loop."""
        self._progress.sent()
        for start in range(0, len(self._body), _SLICE_BYTES):
            await writer.write(self._body[start : start + _SLICE_BYTES])
