"""A share of this edge's concurrency for every organisation, so that one can't starve the others."""

from collections.abc import Iterator
from contextlib import contextmanager

from asahi_core.errors import Overloaded

_RETRY_AFTER_S = 1.0


class Concurrency:
    """Requests under way, by organisation; at most `most` in all.

    While there is room, an organisation may use more than its fair share, but for an eighth that is kept for those who
    use less. Its fair share is an equal part among those who have requests under way, half of all at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept_free = most // 8
        self._total = 0
        self._under_way: dict[str, int] = {}

    @contextmanager
    def slot(self, organization_id: str) -> Iterator[None]:
        """Holds a place while the block runs; raises Overloaded if there is none for this organisation."""
        held = self._under_way.get(organization_id, 0)
        organizations = len(self._under_way) + (held == 0)
        fair = self._most / max(2, organizations)
        free = self._most - self._total
        if free <= (0 if held < fair else self._kept_free):
            message = (
                f"This edge has {self._total} requests under way, {held} of them yours: as many as it takes at the "
                "moment. Send the request again shortly."
            )
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)
        self._under_way[organization_id] = held + 1
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            left = self._under_way[organization_id] - 1
            if left:
                self._under_way[organization_id] = left
            else:
                del self._under_way[organization_id]
