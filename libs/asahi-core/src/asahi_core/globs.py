"""Glob patterns of model ids, as policies and keys write them: `gpt-6-*`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether `name` matches one of `patterns` (`*`, `?`, `[…]`; case counts)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
