"""Who is let in: a share of this edge's concurrency for every organisation, of less of it while work waits its turn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from asahi_core.errors import Overloaded

_RETRY_AFTER_S = 1.0
_LEAST = 64
"""Requests that are always let in: so many wait for each other fractions of a second only."""
_MORE = 1.1


class Place:
    """A request under way. The door takes it, the pipeline takes it over."""

    __slots__ = ("_admission", "_after", "_held", "_taken_over", "organization_id")

    def __init__(self, admission: "Admission", organization_id: str) -> None:
        self._admission = admission
        self.organization_id = organization_id
        self._held = True
        self._taken_over = False
        self._after: list[Callable[[], None]] = []

    def take_over(self, organization_id: str) -> bool:
        """Whether it is the caller's from now on, who gives it back; it is one request's only."""
        if self._taken_over or not self._held or organization_id != self.organization_id:
            return False
        self._taken_over = True
        return True

    def leave(self) -> None:
        """Gives it back unless somebody took it over."""
        if not self._taken_over:
            self.give_back()

    def give_back(self) -> None:
        """Makes room; again: nothing."""
        if self._held:
            self._held = False
            self._admission.free(self.organization_id)
            for action in self._after:
                action()

    def after(self, action: Callable[[], None]) -> None:
        """Calls `action` when it is given back: at once if it has been."""
        if self._held:
            self._after.append(action)
        else:
            action()


arrived: ContextVar[Place | None] = ContextVar("arrived", default=None)
"""The place that the door took for the request that is being answered."""


class Admission:
    """Requests under way, by organisation: about `limit` in all, which follows how long work waits.

    An organisation is let in up to its fair share: an equal part among those who have requests under way, half of all
    at most. While there is room it may use more, but for a quarter that is kept for those who use less. So where the
    limit falls, those who use more wait until some of theirs have ended, and nobody waits for those that stay.
    """

    def __init__(self, most: int) -> None:
        self.limit = self._most = most
        self.under_way = 0
        self.refused = 0
        """So many were not let in."""
        self._least = min(_LEAST, most)
        self._by_organization: dict[str, int] = {}

    def take(self, organization_id: str) -> Place:
        """A place for a request; raises Overloaded if there is none for this organisation."""
        held = self._by_organization.get(organization_id, 0)
        if self.under_way >= self.limit // 2 and not self._has_room(held):
            self.refused += 1
            message = (
                f"This edge has {self.under_way} requests under way, {held} of them yours: as many as it takes at the "
                "moment. Send the request again shortly."
            )
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)
        self._by_organization[organization_id] = held + 1
        self.under_way += 1
        return Place(self, organization_id)

    @contextmanager
    def slot(self, organization_id: str) -> Iterator[None]:
        """Holds a place while the block runs: the one that was taken at the door, or a new one; raises as `take`."""
        place = arrived.get()
        if place is None or not place.take_over(organization_id):
            place = self.take(organization_id)
        try:
            yield
        finally:
            place.give_back()

    def relieve(self, share: float) -> None:
        """Lets in this share of what it let in before: what is under way waits too long for its turn."""
        if self.under_way > self._least:
            most = min(int(self.limit * share), self.under_way * 11 // 10)
            self.limit = max(self._least, self.under_way // 2, most)

    def recover(self) -> None:
        """Lets in a tenth more than before: nothing waits."""
        self.limit = min(self._most, int(self.limit * _MORE) + 1)

    def free(self, organization_id: str) -> None:
        """A request of the organisation has ended; for `Place`."""
        self.under_way -= 1
        left = self._by_organization[organization_id] - 1
        if left:
            self._by_organization[organization_id] = left
        else:
            del self._by_organization[organization_id]

    def _has_room(self, held: int) -> bool:
        fair = self.limit / max(2, len(self._by_organization) + (held == 0))
        if held + 1 <= fair:
            return self.under_way < self._most
        return self.limit - self.under_way > (0 if held < fair else self.limit // 4)
