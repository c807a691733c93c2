"""Checkpoints in a file beside the database: a JSON object a line, only ever added to."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from asahi_auth.domain.audit_checkpoints import Checkpoint, KeptCheckpoints


class CheckpointFile:
    """A `CheckpointBook`. Several processes may share the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Adds lines and syncs them. What a crash left of a line before is taken away: nobody was told of it."""
        text = "".join(_line_of(checkpoint) for checkpoint in checkpoints)
        with _locked(self._path) as file:
            file.truncate(_end_of_lines(file))
            file.seek(0, os.SEEK_END)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self, organization_id: str) -> KeptCheckpoints:
        """Those of one chain; no file is one without lines."""
        found, unreadable = [], 0
        for line in self._lines():
            checkpoint = _checkpoint_of(line)
            if checkpoint is None:
                unreadable += 1
            elif checkpoint.organization_id == organization_id:
                found.append(checkpoint)
        return KeptCheckpoints(found, unreadable)

    def newest(self) -> dict[str, Checkpoint]:
        """That with the highest sequence, by organisation."""
        newest: dict[str, Checkpoint] = {}
        for checkpoint in filter(None, map(_checkpoint_of, self._lines())):
            last = newest.get(checkpoint.organization_id)
            if last is None or checkpoint.sequence >= last.sequence:
                newest[checkpoint.organization_id] = checkpoint
        return newest

    def _lines(self) -> Iterator[bytes]:
        """Whole lines; one without an end is being written, or a crash left it."""
        try:
            with self._path.open("rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))
        except FileNotFoundError:
            return


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _end_of_lines(file: IO[bytes]) -> int:
    """Where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _line_of(checkpoint: Checkpoint) -> str:
    values = {
        "organization_id": checkpoint.organization_id,
        "sequence": checkpoint.sequence,
        "hmac": checkpoint.hmac.hex(),
        "written_at": checkpoint.written_at.astimezone(UTC).isoformat(),
        "signature": checkpoint.signature.hex(),
    }
    return json.dumps(values) + "\n"


def _checkpoint_of(line: bytes) -> Checkpoint | None:
    """The checkpoint of a line; None: it has none."""
    try:
        values: dict[str, Any] = json.loads(line)
        return Checkpoint(
            organization_id=str(values["organization_id"]),
            sequence=int(values["sequence"]),
            hmac=bytes.fromhex(values["hmac"]),
            written_at=datetime.fromisoformat(values["written_at"]).astimezone(UTC),
            signature=bytes.fromhex(values["signature"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
