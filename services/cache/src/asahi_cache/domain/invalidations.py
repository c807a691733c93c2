"""Invalidations of the last seconds: what was on its way into the cache when one was made must not outlive it."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asahi_cache.domain.tiers import Selection
from asahi_core.clock import Clock

_REMEMBERED_S = 10.0
"""Longer than an edge waits for the answer to a store."""
_MOST = 100
"""Invalidations of an organisation that are told apart; more count as one of everything."""


@dataclass(slots=True)
class _Made:
    selection: Selection
    ended_at: float | None = None
    """Monotonic seconds; None: it is being made."""
    ended_at_nanos: int = 0
    """Nanoseconds since 1970: answers given later may be kept, for whoever fetched them knew."""


class Invalidations:
    """What is not to be kept any more, by organisation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made: dict[str, list[_Made]] = {}

    @contextmanager
    def making(self, selection: Selection) -> Iterator[None]:
        """While it is made, what it selects is not kept; nor afterwards what was given before it ended."""
        self._forget()
        made = self._made.setdefault(selection.organization_id, [])
        if len(made) >= _MOST:
            selection = Selection(selection.organization_id)
            made[:] = [one for one in made if one.ended_at is None]
        one = _Made(selection)
        made.append(one)
        try:
            yield
        finally:
            one.ended_at = self._clock.monotonic()
            one.ended_at_nanos = int(self._clock.now().timestamp() * 1e9)

    def cover(self, organization_id: str, labels: Collection[bytes], created_at_nanos: int) -> bool:
        """Whether an entry with these labels, given at this moment, was to be dropped while it was on its way."""
        return any(
            (one.ended_at is None or created_at_nanos <= one.ended_at_nanos)
            and one.selection.covers(labels, created_at_nanos)
            for one in self._made.get(organization_id, ())
        )

    def _forget(self) -> None:
        oldest = self._clock.monotonic() - _REMEMBERED_S
        for organization_id, made in tuple(self._made.items()):
            made[:] = [one for one in made if one.ended_at is None or one.ended_at > oldest]
            if not made:
                del self._made[organization_id]
