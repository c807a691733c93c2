"""A local embedding model behind a bounded queue: loaded once, in threads of its own, a few texts at a time."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from asahi_cache.domain.embedding import LOCAL_DIMENSIONS, LOCAL_MODEL, Embedded
from asahi_core.errors import InvalidRequest, Overloaded, ServiceUnavailable

if TYPE_CHECKING:  # it comes with the extra `semantic`
    import numpy as np
    from numpy.typing import NDArray

_BATCH_CHARACTERS = 1024
"""Of a batch, its texts as long as the longest: about 256 tokens, 45 ms and 30 MB. More would be no faster a text."""
_TRY_AGAIN_S = 1.0
_OFF_S = 60.0


class LoadedModel(Protocol):
    """A model in memory; calls block, and may come from several threads."""

    def read(self, texts: Sequence[str]) -> Embedded:
        """The texts as the model reads them."""
        ...


@dataclass(slots=True)
class EmbedderFigures:
    """What an embedder counts."""

    texts: int = 0
    batches: int = 0
    overloaded: int = 0
    waiting_characters: int = 0


@dataclass(slots=True, eq=False)
class _Piece:
    """Texts of one call that go into one batch."""

    texts: Sequence[str]
    longest: int
    """Characters."""
    embedded: "asyncio.Future[Embedded]"


class LocalEmbedder:
    """`Embedder` over a model in this process. Calls take turns, piece by piece: a short one waits for no long one."""

    model = LOCAL_MODEL
    dimensions = LOCAL_DIMENSIONS

    def __init__(self, load: Callable[[], LoadedModel], threads: int, queue_characters: int) -> None:
        """`load` blocks; what it raises is why there is no model."""
        self._load = load
        self._queue_characters = queue_characters
        self._executor = ThreadPoolExecutor(threads, "embedding")
        self._idle = threads
        self._pieces: deque[_Piece] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._loaded: LoadedModel | None = None
        self._why_off = "it could not be loaded"
        self._tried = asyncio.Event()
        self.figures = EmbedderFigures()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._loaded is not None

    async def load(self) -> None:
        """Loads the model; called once. Calls of `embed` wait until this has ended.

        Raises:
            Exception: what `load` raised; calls of `embed` say so from then on.
        """
        try:
            self._loaded = await asyncio.get_running_loop().run_in_executor(self._executor, self._load)
        except Exception as error:
            self._why_off = str(error)
            raise
        finally:
            self._tried.set()

    def close(self) -> None:
        """Begins no more batches."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """As `Embedder.embed`."""
        return (await self.read(texts)).vectors

    async def read(self, texts: Sequence[str]) -> Embedded:
        """As `Embedder.read`."""
        characters = sum(map(len, texts))
        if characters > self._queue_characters:
            raise InvalidRequest(
                f"{characters} characters are more than the {self._queue_characters} that may be embedded at once.",
                param="texts",
            )
        if self.figures.waiting_characters + characters > self._queue_characters:
            self.figures.overloaded += 1
            raise Overloaded(
                f"{self.figures.waiting_characters} characters wait to be embedded; try again.",
                retry_after_s=_TRY_AGAIN_S,
            )
        self.figures.waiting_characters += characters
        try:
            await self._tried.wait()
            if self._loaded is None:
                raise ServiceUnavailable(f"There is no local embedding model: {self._why_off}.", retry_after_s=_OFF_S)
            return _joined([await self._piece(self._loaded, piece) for piece in _pieces(texts)])
        finally:
            self.figures.waiting_characters -= characters

    async def _piece(self, model: LoadedModel, texts: Sequence[str]) -> Embedded:
        piece = _Piece(texts, max(map(len, texts)), asyncio.get_running_loop().create_future())
        self._pieces.append(piece)
        self._dispatch(model)
        return await piece.embedded

    def _dispatch(self, model: LoadedModel) -> None:
        while self._idle and self._pieces:
            if batch := self._next_batch():
                self._idle -= 1
                task = asyncio.create_task(self._run(model, batch))
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)

    def _next_batch(self) -> list[_Piece]:
        """The pieces that have waited longest, as many as fit together; empty: their callers have left."""
        batch: list[_Piece] = []
        longest = count = 0
        while self._pieces:
            longest, count = max(longest, self._pieces[0].longest), count + len(self._pieces[0].texts)
            if batch and longest * count > _BATCH_CHARACTERS:
                break
            piece = self._pieces.popleft()
            if not piece.embedded.done():
                batch.append(piece)
        return batch

    async def _run(self, model: LoadedModel, batch: Sequence[_Piece]) -> None:
        texts = [text for piece in batch for text in piece.texts]
        try:
            read = await asyncio.get_running_loop().run_in_executor(self._executor, model.read, texts)
        except Exception as error:  # noqa: BLE001 - who waits is told, whatever the model raises
            for piece in batch:
                if not piece.embedded.done():
                    piece.embedded.set_exception(error)
        else:
            self.figures.batches += 1
            self.figures.texts += len(texts)
            _hand_out(read, batch)
        finally:
            self._idle += 1
        self._dispatch(model)


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in their order, cut where they would no longer fit into a batch."""
    piece: list[str] = []
    longest = 0
    for text in texts:
        longest = max(longest, len(text))
        if piece and longest * (len(piece) + 1) > _BATCH_CHARACTERS:
            yield piece
            piece, longest = [], len(text)
        piece.append(text)
    yield piece


def _hand_out(read: Embedded, batch: Sequence[_Piece]) -> None:
    start = 0
    for piece in batch:
        end = start + len(piece.texts)
        if not piece.embedded.done():
            piece.embedded.set_result(Embedded(read.vectors[start:end], read.tokens[start:end], read.cut[start:end]))
        start = end


def _joined(parts: Sequence[Embedded]) -> Embedded:
    if len(parts) == 1:
        return parts[0]
    import numpy as np  # noqa: PLC0415 - the service runs without the extra

    return Embedded(
        np.concatenate([part.vectors for part in parts]),
        [tokens for part in parts for tokens in part.tokens],
        [cut for part in parts for cut in part.cut],
    )
