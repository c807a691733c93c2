"""What glibc keeps of memory that was freed, which is most of what a process grows by after its start."""

import ctypes

_M_ARENA_MAX = -8
"""Of `mallopt`, malloc.h."""
_ARENAS = 2
_libc = ctypes.CDLL(None)


def share_arenas() -> None:
    """Lets threads share two arenas in place of eight a core, each with pages of its own; nothing without glibc."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Returns what is free to the kernel, which takes some milliseconds; nothing happens without glibc."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
