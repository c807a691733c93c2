"""Where audit chains are kept, as the domain sees it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from asahi_auth.domain.audit import AuditEntry, AuditRecord, Head
from asahi_auth.domain.store import Transaction

T = TypeVar("T")


class AuditTransaction(Protocol):
    """Writes to a chain, with what else happens then or not at all. Used on a thread of the log's."""

    @property
    def governed(self) -> Transaction:
        """Organisations and keys in the same transaction; to be read before the chain is touched."""
        ...

    def append(self, entry: AuditEntry, *more: AuditEntry) -> Sequence[AuditRecord]:
        """Writes entries; the records, chain by chain. Raises InvalidRequest for details that cannot be kept."""
        ...

    def begun(self, organization_id: str, sequence: int) -> AuditRecord | None:
        """The record, in a chain where nobody else appends until the transaction ends."""
        ...

    def is_ended(self, organization_id: str, sequence: int) -> bool:
        """Whether a record ends the act that begins with this one."""
        ...


class AuditLog(Protocol):
    """Keeps the chains durably. Every method raises ServiceUnavailable while it cannot be reached."""

    async def change(self, work: Callable[[AuditTransaction], T]) -> T:
        """What `work` returns; what it wrote is durable then. If it raises, nothing was written."""
        ...

    async def has_chain(self, organization_id: str) -> bool:
        """Whether there is, or was, such an organisation."""
        ...

    async def before(self, organization_id: str, sequence: int | None, most: int) -> Sequence[AuditRecord]:
        """At most `most` records before `sequence` (None: from the newest), newest first."""
        ...

    async def heads(self) -> Sequence[Head]:
        """Where every chain ends, by organisation."""
        ...

    async def check(
        self, organization_id: str, work: Callable[[Head, Iterator[AuditRecord], Callable[[], Head]], T]
    ) -> T:
        """What `work` makes of a chain, on a thread of the log's: its head, its records in order, and its head anew."""
        ...
