"""The folder that holds everything of an installation, open for one `asahi up` at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asahi_cli.errors import WrongConfiguration

LOCK_NAME = "lock"


@contextmanager
def opened_data_folder(folder: Path) -> Iterator[None]:
    """Makes `folder` if need be (for its owner only) and holds its lock until the end, however this process ends.

    Raises:
        WrongConfiguration: it cannot be written, or another `asahi up` holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise WrongConfiguration(
            f"the data folder {folder} cannot be written ({error.strerror}): "
            "mend its permissions, or choose another with --data-dir (or ASAHI_DATA_DIR)"
        ) from error
    with os.fdopen(descriptor, "r+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = lock.read().strip() or "unknown"
            raise WrongConfiguration(
                f"the data folder {folder} is in use by another `asahi up` (process {holder}): "
                "stop that one, or choose another folder with --data-dir (or ASAHI_DATA_DIR)"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def in_use(folder: Path) -> bool:
    """Whether an `asahi up` runs on `folder`."""
    try:
        with (folder / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
