"""A vector store that holds nobody up: its answers are awaited for a moment, and not at all while it fails."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from structlog.typing import FilteringBoundLogger

from asahi_cache.domain.semantic.neighbours import Neighbour, StoredQuestion, StoreUnavailable, VectorStore
from asahi_cache.domain.tiers import Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
_FAILURES = 3
_PROBE_EVERY_S = 0.5
_BACKGROUND_S = 5.0
_LEAST_S = 0.005
"""A lookup that has waited for its first answer almost too long waits so long for the second."""
_NOBODY = b"\0" * 32
_LATE = "the store of questions does not answer in time"


class GuardedQuestions:
    """A `PatientStore` around a store. After a few failures in a row its breaker opens, and only its probe asks."""

    def __init__(self, store: VectorStore, ask_s: float, log: FilteringBoundLogger) -> None:
        """`ask_s`: longest wait of a lookup, in all."""
        self._store = store
        self._ask_s = ask_s
        self._log = log
        self._failures = 0
        self._opened = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()
        self.last_failure = ""

    def trouble(self) -> str:
        """Why the store is not asked; empty: it is."""
        return "" if self.works else self.last_failure

    @property
    def works(self) -> bool:
        """Whether it is asked."""
        return not self._opened.is_set()

    async def reachable_again(self) -> None:
        """Returns when it is asked."""
        await self._closed.wait()

    async def watch(self) -> None:
        """While the breaker is open, asks now and then whether the store is back; until cancelled."""
        while True:
            await self._opened.wait()
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                async with asyncio.timeout(self._ask_s):
                    await self._store.holds("", _NOBODY, 0)
            except (StoreUnavailable, TimeoutError) as error:
                self.last_failure = str(error) or _LATE
            else:
                self._failures = 0
                self._opened.clear()
                self._closed.set()
                self._log.info("questions_reachable")

    async def holds(self, organization_id: str, scope: bytes, now_ns: int) -> bool:
        """As `VectorStore.holds`."""
        return await self._ask(lambda: self._store.holds(organization_id, scope, now_ns))

    async def nearest(
        self,
        organization_id: str,
        scope: bytes,
        vector: "NDArray[np.float32]",
        now_ns: int,
        most: int,
        *,
        waited_s: float = 0.0,
    ) -> Sequence[Neighbour]:
        """As `PatientStore.nearest`."""
        return await self._ask(
            lambda: self._store.nearest(organization_id, scope, vector, now_ns, most),
            within_s=max(_LEAST_S, self._ask_s - waited_s),
        )

    async def keep(self, question: StoredQuestion, vector: "NDArray[np.float32]") -> None:
        """As `VectorStore.keep`."""
        await self._ask(lambda: self._store.keep(question, vector), within_s=_BACKGROUND_S)

    async def forget(self, organization_id: str, fingerprint: bytes) -> None:
        """As `VectorStore.forget`."""
        await self._ask(lambda: self._store.forget(organization_id, fingerprint), within_s=_BACKGROUND_S)

    async def drop(self, selection: Selection) -> None:
        """As `VectorStore.drop`; asked even while the breaker is open, for what is to be erased must not be missed."""
        try:
            async with asyncio.timeout(_BACKGROUND_S):
                await self._store.drop(selection)
        except TimeoutError:
            raise StoreUnavailable(_LATE) from None

    async def expire(self, now_ns: int) -> None:
        """As `VectorStore.expire`."""
        await self._ask(lambda: self._store.expire(now_ns), within_s=_BACKGROUND_S)

    async def scroll(self, after: str, most: int) -> "tuple[Sequence[tuple[StoredQuestion, NDArray[np.float32]]], str]":
        """As `VectorStore.scroll`."""
        return await self._store.scroll(after, most)

    async def close(self) -> None:
        """As `VectorStore.close`."""
        await self._store.close()

    async def _ask(self, call: Callable[[], Awaitable[T]], within_s: float | None = None) -> T:
        if not self.works:
            raise StoreUnavailable(self.last_failure)
        try:
            async with asyncio.timeout(within_s or self._ask_s):
                answer = await call()
        except TimeoutError:
            self._note_failure(_LATE)
            raise StoreUnavailable(_LATE) from None
        except StoreUnavailable as error:
            self._note_failure(str(error))
            raise
        self._failures = 0
        return answer

    def _note_failure(self, message: str) -> None:
        self._failures += 1
        self.last_failure = message
        if self._failures >= _FAILURES and self.works:
            self._closed.clear()
            self._opened.set()
            self._log.warning("questions_unreachable", error=message)
