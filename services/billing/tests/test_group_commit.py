"""Many callers share a transaction, and none suffers for another."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from asahi_billing.stores.group_commit import GroupCommit
from asahi_core.errors import Overloaded, ServiceUnavailable


class _Disk:
    """Commits numbers; the first commit waits until `proceed`. What is `poison` cannot be committed."""

    def __init__(self, poison: int | None = None) -> None:
        self.poison = poison
        self.reached = threading.Event()
        self.proceed = threading.Event()
        self.groups: list[list[list[int]]] = []

    def commit(self, batches: Sequence[list[int]]) -> list[int]:
        self.reached.set()
        assert self.proceed.wait(30)
        self.groups.append([list(batch) for batch in batches])
        if any(self.poison in batch for batch in batches):
            raise ValueError(self.poison)
        return [len(batch) for batch in batches]


async def _gathered(
    disk: _Disk, commits: GroupCommit[list[int], int], batches: list[list[int]]
) -> list[asyncio.Task[int]]:
    """Appends `batches` while a first commit is under way."""
    commits.start()
    first = asyncio.create_task(commits.append([0], 1))
    await asyncio.to_thread(disk.reached.wait, 30)
    tasks = [first, *(asyncio.create_task(commits.append(batch, len(batch))) for batch in batches)]
    await asyncio.sleep(0)
    return tasks


async def test_what_gathers_during_a_commit_goes_into_the_next() -> None:
    disk = _Disk()
    commits: GroupCommit[list[int], int] = GroupCommit(disk.commit, capacity=100)
    tasks = await _gathered(disk, commits, [[1, 2], [3], [4, 5, 6]])
    disk.proceed.set()
    assert await asyncio.gather(*tasks) == [1, 2, 1, 3]
    assert disk.groups == [[[0]], [[1, 2], [3], [4, 5, 6]]]
    await commits.close()


async def test_a_batch_that_cannot_be_committed_fails_alone() -> None:
    disk = _Disk(poison=3)
    commits: GroupCommit[list[int], int] = GroupCommit(disk.commit, capacity=100)
    tasks = await _gathered(disk, commits, [[1, 2], [3], [4]])
    disk.proceed.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, int, ValueError, int]
    await commits.close()


async def test_more_than_the_queue_holds_is_turned_away_until_there_is_room() -> None:
    disk = _Disk()
    commits: GroupCommit[list[int], int] = GroupCommit(disk.commit, capacity=3)
    tasks = await _gathered(disk, commits, [[1, 2]])
    with pytest.raises(Overloaded) as turned_away:
        await commits.append([3], 1)
    assert turned_away.value.retry_after_s
    disk.proceed.set()
    await asyncio.gather(*tasks)
    assert commits.waiting == 0
    assert await commits.append([3], 1) == 1
    await commits.close()


async def test_closing_commits_what_waits_and_refuses_what_comes() -> None:
    disk = _Disk()
    commits: GroupCommit[list[int], int] = GroupCommit(disk.commit, capacity=100)
    tasks = await _gathered(disk, commits, [[1], [2]])
    closing = asyncio.create_task(commits.close())
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable):
        await commits.append([3], 1)
    disk.proceed.set()
    await closing
    assert await asyncio.gather(*tasks) == [1, 1, 1]


async def test_a_caller_who_gives_up_stops_nobody() -> None:
    disk = _Disk()
    commits: GroupCommit[list[int], int] = GroupCommit(disk.commit, capacity=100)
    tasks = await _gathered(disk, commits, [[1], [2]])
    tasks[1].cancel()
    disk.proceed.set()
    assert (await tasks[0], await tasks[2]) == (1, 1)
    assert disk.groups[1] == [[1], [2]]
    assert commits.waiting == 0
    await commits.close()
