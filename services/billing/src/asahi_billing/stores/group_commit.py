"""Group commit: what many callers want written shares one transaction, because its price is the disk's, not the rows'.

One thread commits. While it does, items gather; all that have gathered go into the next transaction. An item that
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
Outcome = TypeVar("Outcome")
Commit = Callable[[Sequence[Item]], Sequence[Outcome | Exception]]
"""Writes items in one transaction; each one's outcome, or its refusal. Raises with nothing written."""

_MOST_IN_A_GROUP = 5_000
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Submission(Generic[Item, Outcome]):
    item: Item
    weight: int
    done: asyncio.Future[Outcome]


class GroupCommit(Generic[Item, Outcome]):
    """Commits what is appended, from `start` to `close`. Items that wait weigh at most `capacity`."""

    def __init__(self, commit: Commit[Item, Outcome], *, capacity: int) -> None:
        self._commit = commit
        self.capacity = capacity
        self._queue: SimpleQueue[_Submission[Item, Outcome] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self.waiting = 0
        """Weight of what is not committed yet."""

    def start(self) -> None:
        """Starts the thread; callers are those of the running event loop."""
        loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, args=(loop,), name="group-commit", daemon=True)
        self._thread.start()

    async def append(self, item: Item, weight: int) -> Outcome:
        """What became of `item`, once it is committed. A caller who gives up does not stop the commit.

        Raises:
            Overloaded: too much waits already.
            ServiceUnavailable: closed, or as `commit` says.
        """
        if self._thread is None:
            raise ServiceUnavailable("The ledger is closing; try again shortly.", retry_after_s=_RETRY_AFTER_S)
        if self.waiting + weight > self.capacity:
            message = f"The ledger has {self.waiting} records to write already; try again shortly."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)
        self.waiting += weight
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.put(_Submission(item, weight, done))
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

    def _gather(self) -> tuple[list[_Submission[Item, Outcome]], bool]:
        """Waits for the first submission and takes what else is there; False: there will be no more."""
        group: list[_Submission[Item, Outcome]] = []
        weight = 0
        submission = self._queue.get()
        while submission is not None:
            group.append(submission)
            weight += submission.weight
            if weight >= _MOST_IN_A_GROUP:
                return group, True
            try:
                submission = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _outcomes(self, group: list[_Submission[Item, Outcome]]) -> list[Outcome | Exception]:
        try:
            return list(self._commit([submission.item for submission in group]))
        except AsahiError as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one batch must not end the thread
            if len(group) == 1:
                return [error]
            return [outcome for submission in group for outcome in self._outcomes([submission])]

    def _settle(self, group: list[_Submission[Item, Outcome]], outcomes: list[Outcome | Exception]) -> None:
        for submission, outcome in zip(group, outcomes, strict=True):
            self.waiting -= submission.weight
            if submission.done.done():
                continue
            if isinstance(outcome, Exception):
                submission.done.set_exception(outcome)
            else:
                submission.done.set_result(outcome)
