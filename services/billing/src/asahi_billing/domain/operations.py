"""What can be done to a `Book`, each as a value that says which part of the ledger it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from asahi.billing.v1.billing_pb2 import ReserveRequest, SpendingPlan, UsageRecord
from asahi_billing.domain.book import Book, call_of
from asahi_billing.domain.plans import Call
from asahi_core.errors import AsahiError


class Operation(Protocol):
    """Runs within a transaction; its plans have been told to the book before."""

    @property
    def plans(self) -> Sequence[SpendingPlan]:
        """Checked plans that it brings."""
        ...

    @property
    def records(self) -> Sequence[UsageRecord]:
        """Records that it adds."""
        ...

    @property
    def reservations(self) -> Sequence[ReserveRequest]:
        """What it wants to hold: balances are needed for it."""
        ...

    @property
    def calls(self) -> Sequence[Call]:
        """The calls whose holds it needs."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """Keys whose own budgets it needs, beside those of its records."""
        ...

    @property
    def repriced(self) -> Sequence[Call]:
        """Recorded calls whose accounts and adjustments it needs."""
        ...

    def apply(self, book: Book) -> object:
        """Works on `book`; the answer, or the error that it is refused with."""
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call's upper bound that is to be held."""

    request: ReserveRequest
    plans: Sequence[SpendingPlan]
    """Those that it is held against."""
    lease_ns: int

    @property
    def call(self) -> Call:
        """The call."""
        return Call(self.request.organization_id, self.request.request_id, self.request.attempt)


@dataclass
class _Operation:
    plans: Sequence[SpendingPlan] = ()
    records: Sequence[UsageRecord] = ()
    reservations: Sequence[ReserveRequest] = ()
    calls: Sequence[Call] = ()
    repriced: Sequence[Call] = ()
    keys: Sequence[str] = ()


class Record(_Operation):
    """Adds checked records, and counts what they cost."""

    def __init__(self, records: Sequence[UsageRecord], plans: Sequence[SpendingPlan]) -> None:
        super().__init__(plans=plans, records=records, calls=[call_of(record) for record in records])

    def apply(self, book: Book) -> None:
        """Nothing to tell: the store knows which records were new."""
        for record in self.records:
            book.settle(record)


class Reserve(_Operation):
    """Holds checked upper bounds, one after the other."""

    def __init__(self, reservations: Sequence[Reservation]) -> None:
        super().__init__(
            plans=list({id(plan): plan for one in reservations for plan in one.plans}.values()),
            reservations=[one.request for one in reservations],
            calls=[one.call for one in reservations],
        )
        self._leases_ns = [one.lease_ns for one in reservations]

    def apply(self, book: Book) -> list[int | AsahiError]:
        """Of each until when (ns since 1970), or the refusal."""
        return [book.reserve(*one) for one in zip(self.reservations, self._leases_ns, strict=True)]


class Renew(_Operation):
    """Prolongs holds."""

    def __init__(self, calls: Sequence[Call], lease_ns: int) -> None:
        super().__init__(calls=calls)
        self._lease_ns = lease_ns

    def apply(self, book: Book) -> tuple[int, list[Call]]:
        """Until when (ns since 1970), and the calls that have no open hold."""
        ended = [call for call in self.calls if not book.renew(call, self._lease_ns)]
        return book.now_ns + self._lease_ns, ended


class Release(_Operation):
    """Gives a hold back."""

    def __init__(self, call: Call) -> None:
        super().__init__(calls=[call])

    def apply(self, book: Book) -> bool:
        """Whether there was one."""
        return book.release(self.calls[0])


class Expire(_Operation):
    """Ends holds whose lease is over."""

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__(calls=calls)

    def apply(self, book: Book) -> int:
        """How many ended."""
        return sum(book.expire(call) for call in self.calls)


class Reprice(_Operation):
    """Books what recorded calls cost by other prices."""

    def __init__(
        self, costs: Sequence[tuple[UsageRecord, int]], repricing_id: str, price_version: str, *, dry_run: bool
    ) -> None:
        """`costs`: what each record's call costs, in nano-dollars."""
        calls = [call_of(record) for record, _ in costs]
        super().__init__(calls=calls, repriced=calls, keys=[record.api_key_id for record, _ in costs])
        self._costs = costs
        self._repricing_id = repricing_id
        self._price_version = price_version
        self._dry_run = dry_run

    def apply(self, book: Book) -> tuple[int, int]:
        """How many costs changed, and by how many nano-dollars together."""
        if self._dry_run:
            changes = [
                nanos - record.cost_nanos - book.adjusted.get(call_of(record), 0) for record, nanos in self._costs
            ]
            return sum(1 for nanos in changes if nanos), sum(changes)
        changes = [
            book.reprice(record, nanos, self._repricing_id, self._price_version) for record, nanos in self._costs
        ]
        return sum(1 for nanos in changes if nanos), sum(changes)
