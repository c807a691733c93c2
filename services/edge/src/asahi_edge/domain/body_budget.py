"""The memory that bodies of requests may take, all together: so many large ones at once would exhaust it."""

from asahi_core.errors import Overloaded

_RETRY_AFTER_S = 1.0


class BodyBudget:
    """Bytes of bodies that have come and whose requests have not ended, by organisation; about `most` in all.

    An organisation that has more than its fair share leaves a quarter for others. Its fair share is an equal part among
    those who have bodies here, half of all at most. A body that is alone is always taken: its size has another limit.
    """

    def __init__(self, most: int) -> None:
        self.used = 0
        self._most = most
        self._by_organization: dict[str, int] = {}

    def share(self, organization_id: str) -> "BodyShare":
        """What a body of the organisation (empty: not known) takes: nothing yet."""
        return BodyShare(self, organization_id)

    def refusal(self, organization_id: str, size: int) -> Overloaded | None:
        """Why there is no room for so many bytes more of the organisation; None: there is."""
        held = self._by_organization.get(organization_id, 0)
        organizations = len(self._by_organization) + (held == 0)
        has_less = held < self._most / max(2, organizations)
        if self.used + size <= (self._most if has_less else self._most * 3 // 4):
            return None
        message = (
            f"Bodies of requests under way at this edge have {self.used} bytes, {held} of them yours; there is no room "
            f"for {size} more at the moment. Send the request again shortly."
        )
        return Overloaded(message, retry_after_s=_RETRY_AFTER_S)

    def change(self, organization_id: str, size: int) -> None:
        """So many bytes have come, or gone; for `BodyShare`."""
        self.used += size
        held = self._by_organization.get(organization_id, 0) + size
        if held:
            self._by_organization[organization_id] = held
        else:
            self._by_organization.pop(organization_id, None)


class BodyShare:
    """What one body takes of the budget, until `free`."""

    __slots__ = ("_budget", "_organization_id", "size")

    def __init__(self, budget: BodyBudget, organization_id: str) -> None:
        self.size = 0
        self._budget = budget
        self._organization_id = organization_id

    def require(self, size: int) -> None:
        """Raises Overloaded if there is no room for so many bytes more, and others have some."""
        if self._budget.used > self.size:
            refusal = self._budget.refusal(self._organization_id, size)
            if refusal is not None:
                raise refusal

    def add(self, size: int) -> None:
        """So many bytes more are there; raises as `require` does, and has not taken them then."""
        self.require(size)
        self._budget.change(self._organization_id, size)
        self.size += size

    def free(self) -> None:
        """Nothing of it is there any more; again: nothing."""
        self._budget.change(self._organization_id, -self.size)
        self.size = 0
