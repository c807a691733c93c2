"""One flight: a request under way at one edge, what has come of its answer, and how it ends for those who follow."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from asahi.cache.v1.cache_pb2 import CacheEntry, FollowFlightResponse
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_cache.domain.attachments import Attachment
from asahi_core.errors import AsahiError, UpstreamInterrupted

PIECE_OVERHEAD_BYTES = 64
"""What Python takes around a kept piece at most; a test measures it."""


@dataclass(slots=True, eq=False)
class Flight:
    """Its pieces are the same for all followers, each of whom reads them at their own pace from the first on."""

    id: str
    organization_id: str
    key: bytes
    lead: Attachment
    expires_at: float
    """Monotonic time, seconds, at which it has lasted too long."""
    last_pieces_s: float
    """The stored answer may overtake the last pieces, which come another way; seconds that followers wait for them."""
    followers: int = 0
    size: int = 0
    """Bytes that the pieces take, overhead included."""
    answer: CacheEntry | None = None
    """The whole answer, once stored."""
    was_unwanted: bool = False
    """Whether the lead was told that nobody follows: what it has sent since may have gaps, until it says `finished`."""
    _pieces: list[bytes] = field(default_factory=list)
    """Serialized `FollowFlightResponse`s: as messages, short pieces would take ten times the memory."""
    _position: int = 0
    _last: FollowFlightResponse | None = None
    _error: AsahiError | None = None
    _moved: "asyncio.Future[None] | None" = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._last is not None or self._error is not None

    def add(self, piece: AnswerDelta) -> int:
        """The next piece; the bytes that keeping it takes.

        The lead sends all pieces from the opening on whenever it is asked for them again; those that are here already
        are passed over.
        """
        if piece.HasField("opening"):
            self._position = 0
        self._position += 1
        if self._position <= len(self._pieces):
            return 0
        event = FollowFlightResponse(delta=piece).SerializeToString()
        self._pieces.append(event)
        size = len(event) + PIECE_OVERHEAD_BYTES
        self.size += size
        self._wake()
        return size

    def store(self, answer: CacheEntry) -> None:
        """The whole answer is known; pieces of it may still be under way."""
        self.answer = answer
        self._wake()

    def finish(self, answer: CacheEntry) -> None:
        """No more pieces come, and the answer is whole."""
        self._end(last=FollowFlightResponse(finished=answer))

    def fail(self, status: bytes) -> None:
        """No more pieces come, and there will be no answer: `status` is a serialized google.rpc.Status."""
        self._end(last=FollowFlightResponse(failed_status=status))

    def stop(self, error: AsahiError) -> None:
        """Ends it at once; followers are told no further piece."""
        self._end(error=error)

    def forget_pieces(self) -> None:
        """Frees what an ended flight takes."""
        self._pieces.clear()
        self.size = 0

    async def events(self) -> AsyncGenerator[FollowFlightResponse, None]:
        """All pieces from the first on, then `finished` or `failed_status`.

        Raises:
            UpstreamInterrupted: the lead is gone. Not if the answer was stored and no piece of it told before.
            Overloaded: the answer is too long to be followed.
        """
        told = 0
        while self._error is None:
            if told < len(self._pieces):
                yield FollowFlightResponse.FromString(self._pieces[told])
                told += 1
            elif self._last is not None:
                yield self._last
                return
            elif not await self._moves():
                break
        if self.answer is not None and told == 0:
            yield FollowFlightResponse(finished=self.answer)
            return
        raise self._error or interruption()

    async def _moves(self) -> bool:
        """Waits until something happens; False: the answer is stored, and the pieces that lack do not come."""
        if self._moved is None:
            self._moved = asyncio.get_running_loop().create_future()
        limit_s = None if self.answer is None else self.last_pieces_s
        done, _ = await asyncio.wait((self._moved,), timeout=limit_s)
        return bool(done)

    def _end(self, *, last: FollowFlightResponse | None = None, error: AsahiError | None = None) -> None:
        if not self.ended:
            self._last, self._error = last, error
            self._wake()

    def _wake(self) -> None:
        if self._moved is not None:
            self._moved.set_result(None)
            self._moved = None


def interruption() -> UpstreamInterrupted:
    """What followers hear of a flight whose lead is gone."""
    return UpstreamInterrupted("The edge that was fetching this answer is gone; send the request again.")
