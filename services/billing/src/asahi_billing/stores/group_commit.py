"""Group commit: batches of many callers share one transaction, because its price is the disk's, not the rows'.

One thread commits. While it does, batches gather; all that have gathered go into the next transaction. A batch that
cannot be committed fails alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from asahi_core.errors import AsahiError, Overloaded, ServiceUnavailable

Item = TypeVar("Item")
Commit = Callable[[Sequence[Sequence[Item]]], Sequence[int]]
"""Writes batches in one transaction and says of each how many items were new; raises with nothing written."""

_MOST_IN_A_GROUP = 5_000
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Submission(Generic[Item]):
    items: Sequence[Item]
    done: asyncio.Future[int]


class GroupCommit(Generic[Item]):
    """Commits what is appended, from `start` to `close`. At most `capacity` items wait."""

    def __init__(self, commit: Commit[Item], *, capacity: int) -> None:
        self._commit = commit
        self._capacity = capacity
        self._queue: SimpleQueue[_Submission[Item] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self.waiting = 0
        """Items that are not committed yet."""

    def start(self) -> None:
        """Starts the thread; callers are those of the running event loop."""
        loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, args=(loop,), name="group-commit", daemon=True)
        self._thread.start()

    async def append(self, items: Sequence[Item]) -> int:
        """How many of `items` were new, once they are committed. A caller who gives up does not stop the commit.

        Raises:
            Overloaded: too many items wait already.
            ServiceUnavailable: closed, or as `commit` says.
        """
        if self._thread is None:
            raise ServiceUnavailable("The ledger is closing; try again shortly.", retry_after_s=_RETRY_AFTER_S)
        if self.waiting + len(items) > self._capacity:
            message = f"The ledger has {self.waiting} records to write already; try again shortly."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)
        self.waiting += len(items)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.put(_Submission(items, done))
        return await done

    async def close(self) -> None:
        """Commits what waits, then ends the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        more = True
        while more:
            group, more = self._gather()
            if group:
                loop.call_soon_threadsafe(self._settle, group, self._outcomes(group))

    def _gather(self) -> tuple[list[_Submission[Item]], bool]:
        """Waits for the first submission and takes what else is there; False: there will be no more."""
        group: list[_Submission[Item]] = []
        items = 0
        submission = self._queue.get()
        while submission is not None:
            group.append(submission)
            items += len(submission.items)
            if items >= _MOST_IN_A_GROUP:
                return group, True
            try:
                submission = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _outcomes(self, group: list[_Submission[Item]]) -> list[int | Exception]:
        try:
            return list(self._commit([submission.items for submission in group]))
        except AsahiError as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one batch must not end the thread
            if len(group) == 1:
                return [error]
            return [outcome for submission in group for outcome in self._outcomes([submission])]

    def _settle(self, group: list[_Submission[Item]], outcomes: list[int | Exception]) -> None:
        for submission, outcome in zip(group, outcomes, strict=True):
            self.waiting -= len(submission.items)
            if submission.done.done():
                continue
            if isinstance(outcome, Exception):
                submission.done.set_exception(outcome)
            else:
                submission.done.set_result(outcome)
