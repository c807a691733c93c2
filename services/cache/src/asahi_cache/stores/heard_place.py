"""How far a replica has heard others withdraw, beside what it keeps on disk: after an absence it goes on there."""

from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the stream of withdrawals."""

    epoch: bytes
    """Names the stream; another one after Redis has lost it."""
    number: bytes
    """Of the last withdrawal that was dropped here."""


class HeardPlace:
    """A place in a file. It rises with what was dropped, and stays where something could not be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stays = False
        self.place = _read(path)
        """None: unknown, so that anything may have been withdrawn."""

    def note(self, place: Place) -> None:
        """Everything up to `place` is dropped. Raises OSError."""
        if self._stays or place == self.place:
            return
        written = self._path.with_suffix(".new")
        written.write_bytes(msgspec.msgpack.encode((place.epoch, place.number)))
        written.replace(self._path)
        self.place = place

    def stay(self) -> None:
        """Something could not be dropped: the next process begins here."""
        self._stays = True


def _read(path: Path) -> Place | None:
    try:
        epoch, number = msgspec.msgpack.decode(path.read_bytes(), type=tuple[bytes, bytes])
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return Place(epoch, number)
