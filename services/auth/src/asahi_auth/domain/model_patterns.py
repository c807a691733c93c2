"""Patterns of model ids: which of them allow no more than others do."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_ATOMS = re.compile(r"\*+|\[!?+\]?+[^\]]*\]|.", re.DOTALL)
"""A pattern's parts, as `fnmatch` reads them: `*`, `?`, a class, or a character."""


def allows_no_more(pattern: str, than: Iterable[str]) -> bool:
    """Whether one of the patterns `than` certainly matches every id that `pattern` matches.

    Where that is only true in a roundabout way (classes that contain each other, several patterns together) the answer
    is no.
    """
    parts = _parts(pattern)
    return any(_covers(_parts(wider), parts) for wider in than)


def _parts(pattern: str) -> list[str]:
    return ["*" if atom.startswith("*") else atom for atom in _ATOMS.findall(pattern)]


def _covers(wide: list[str], narrow: list[str]) -> bool:
    """Matches the parts of `narrow` with those of `wide`; a `*` of `wide` takes any run of parts, even a `*`."""
    covered = [True] + [False] * len(narrow)  # covered[n]: the parts of `wide` so far cover the first n of `narrow`
    for part in wide:
        if part == "*":
            for n in range(len(narrow)):
                covered[n + 1] |= covered[n]
        else:
            covered = [False] + [covered[n] and _takes(part, other) for n, other in enumerate(narrow)]
        if not any(covered):
            return False
    return covered[-1]


def _takes(part: str, other: str) -> bool:
    """Whether `part`, which matches one character, matches all that `other` does."""
    if other == "*":
        return False
    if part in ("?", other):
        return True
    return len(other) == 1 and other != "?" and fnmatchcase(other, part)
