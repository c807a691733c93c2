"""Fields that nobody knows: which of those that are known a caller may have meant."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

_MOST_NAMED = 5
_LONGEST = 40


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known field that `name` is most like, if it is like any."""
    found = get_close_matches(name[:_LONGEST], known, n=1, cutoff=0.7)
    return found[0] if found else None


def ignored_warning(unknown: Collection[str], known: Collection[str]) -> str:
    """The header that tells that fields were ignored: ASCII, bounded."""
    parts = []
    for name in sorted(unknown)[:_MOST_NAMED]:
        meant = closest(name, known)
        parts.append(ascii(name[:_LONGEST]) + (f" (did you mean '{meant}'?)" if meant else ""))
    if len(unknown) > _MOST_NAMED:
        parts.append(f"and {len(unknown) - _MOST_NAMED} more")
    return f"ignored unknown field{'s' if len(unknown) > 1 else ''} {', '.join(parts)}"
