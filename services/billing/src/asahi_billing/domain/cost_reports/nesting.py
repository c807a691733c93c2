"""How deep JSON is nested, piece by piece.

The parser takes time by the square of it and holds up the whole process meanwhile, so depth is bounded before.
"""

import re

from asahi_core.errors import InvalidRequest

MOST_LEVELS = 64
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, whole or up to the end of the piece."""
_END = b"\x00"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = b"[{"


class Nesting:
    """Counts brackets outside of strings."""

    def __init__(self) -> None:
        self._levels = 0
        self._in_text = False
        self._escaped = False

    def feed(self, piece: bytes) -> None:
        """Counts on. Raises InvalidRequest at the first level too many."""
        if self._in_text:
            piece = (b'"\\' if self._escaped else b'"') + piece
        bare = _TEXT.sub(b"", piece + _END)
        self._in_text = not bare.endswith(_END)
        self._escaped = self._in_text and (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 1
        for mark in bare.translate(None, _ALL_BUT_BRACKETS):
            self._levels += 1 if mark in _OPENING else -1
            if self._levels > MOST_LEVELS:
                raise InvalidRequest(f"The report is nested more than {MOST_LEVELS} levels deep.")
