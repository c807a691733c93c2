"""Folders that belong to one process at a time: `<root>/1`, `<root>/2`, … each locked by its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MOST = 64
_LOCK = "lock"


class FolderInUse(OSError):
    """Another process holds the folder."""


class LockedFolder:
    """A folder, created if it is not there, that no other process holds until `release`."""

    def __init__(self, path: Path) -> None:
        """Raises FolderInUse, and OSError when the folder cannot be created or written to."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise FolderInUse(f"{path} is in use by another process; stop it or choose another folder") from None
        except OSError:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Lets another process take the folder."""
        os.close(self._fd)


def claim_first_free(root: Path) -> LockedFolder:
    """The first folder below `root` that nobody holds. Raises FolderInUse when all are held, else OSError."""
    for number in range(1, _MOST + 1):
        with suppress(FolderInUse):
            return LockedFolder(root / str(number))
    raise FolderInUse(f"all {_MOST} folders below {root} are in use; stop some of the processes that hold them")


def claim_abandoned(root: Path) -> Iterator[LockedFolder]:
    """The folders below `root` that were used and that nobody holds now, each held until the next is asked for."""
    for path in sorted(filter(Path.is_dir, root.glob("[0-9]*"))):
        try:
            folder = LockedFolder(path)
        except FolderInUse:
            continue
        try:
            yield folder
        finally:
            folder.release()
