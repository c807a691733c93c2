"""The store of budget accounts and holds as the domain sees it, and the values that pass through it."""

from dataclasses import dataclass
from typing import Any, Protocol

from asahi.billing.v1.billing_pb2 import SpendingPlan
from asahi_billing.domain.book import Balance
from asahi_billing.domain.operations import Operation
from asahi_billing.domain.plans import AccountKey, Call


@dataclass(frozen=True, slots=True)
class Break:
    """A figure that does not agree with what it is made of, in nano-dollars."""

    figure: str
    organization_id: str
    place: str
    expected_nanos: int
    found_nanos: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What adding everything up again found."""

    accounts: int
    entries: int
    open_holds: int
    breaks: list[Break]


class SpendingStore(Protocol):
    """Keeps budget accounts and holds. Raises ServiceUnavailable when it cannot be reached."""

    async def run(self, operation: Operation) -> Any:
        """What `operation` answers, once what it changed is durable; raises the refusal that it answers.

        Raises:
            Overloaded: too much waits already.
        """
        ...

    async def overdue(self, now_ns: int, limit: int) -> list[Call]:
        """Calls with an open hold whose lease was over before `now_ns`, longest first."""
        ...

    async def standing(
        self, organization_id: str, now_ns: int, limit: int
    ) -> tuple[list[SpendingPlan], dict[AccountKey, Balance]]:
        """The organisation's plans, and at most `limit` of its accounts whose window holds `now_ns`."""
        ...

    async def check(self, organization_id: str, limit: int) -> Audit:
        """Adds up all entries of an organisation (empty: of all); at most `limit` breaks."""
        ...
