"""The audit chains in an SQL database, read and written on threads of their own: no look-up of a key waits for them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, Engine, RowMapping, bindparam, select

from asahi_auth.domain.audit import AuditEntry, AuditRecord, Head
from asahi_auth.domain.audit_log import AuditTransaction
from asahi_auth.domain.store import Transaction
from asahi_auth.stores.audit import AuditChains
from asahi_auth.stores.audit_tables import AUDIT_HEADS, AUDIT_RECORDS
from asahi_auth.stores.tables import ORGANIZATIONS
from asahi_core.sql.availability import told_as_unavailable
from asahi_core.sql.lane import Lane

T = TypeVar("T")
_STORE = "store of the audit chains"
_BATCH = 500
_BEFORE_ALL = -(2**63)
"""A place before any, also before those that no record is written at."""
_OF_CHAIN = select(AUDIT_RECORDS).where(AUDIT_RECORDS.c.organization_id == bindparam("id"))
_FIND = _OF_CHAIN.where(AUDIT_RECORDS.c.sequence == bindparam("sequence"))
_AFTER = (
    _OF_CHAIN.where(AUDIT_RECORDS.c.sequence > bindparam("sequence")).order_by(AUDIT_RECORDS.c.sequence).limit(_BATCH)
)
_ENDED = _OF_CHAIN.where(AUDIT_RECORDS.c.ends == bindparam("sequence")).limit(1)
_HEADS = select(AUDIT_HEADS).order_by(AUDIT_HEADS.c.organization_id)
_HEAD = select(AUDIT_HEADS).where(AUDIT_HEADS.c.organization_id == bindparam("id"))
_ORGANIZATION = select(ORGANIZATIONS.c.id).where(ORGANIZATIONS.c.id == bindparam("id"))


class SqlAuditLog:
    """An `AuditLog` behind an engine of its own on the database of the organisations, on two connections at a time."""

    def __init__(
        self, engine: Engine, chains: AuditChains, transaction_on: Callable[[Connection], Transaction]
    ) -> None:
        """`transaction_on` gives organisations and keys on a connection that has begun a transaction."""
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._chains = chains
        self._transaction_on = transaction_on
        self._reader = Lane("audit-reader", 1, store=_STORE)
        self._writer = Lane("audit-writer", 1, store=_STORE)

    async def change(self, work: Callable[[AuditTransaction], T]) -> T:
        """What `work` returns; what it wrote is durable then. If it raises, nothing was written."""
        with told_as_unavailable(_STORE):
            return await self._writer.run(partial(self._change, work))

    async def has_chain(self, organization_id: str) -> bool:
        """Whether there is, or was, such an organisation."""
        return await self._read(
            lambda connection: connection.execute(_ORGANIZATION, {"id": organization_id}).first() is not None
        )

    async def before(self, organization_id: str, sequence: int | None, most: int) -> Sequence[AuditRecord]:
        """At most `most` records before `sequence` (None: from the newest), newest first."""
        query = _OF_CHAIN.order_by(AUDIT_RECORDS.c.sequence.desc()).limit(most)
        if sequence is not None:
            query = query.where(AUDIT_RECORDS.c.sequence < sequence)
        return await self._read(
            lambda connection: [_record(row) for row in connection.execute(query, {"id": organization_id}).mappings()]
        )

    async def heads(self) -> Sequence[Head]:
        """Where every chain ends, by organisation."""
        return await self._read(lambda connection: [Head(**row) for row in connection.execute(_HEADS).mappings()])

    async def check(
        self, organization_id: str, work: Callable[[Head, Iterator[AuditRecord], Callable[[], Head]], T]
    ) -> T:
        """What `work` makes of a chain, on a thread of the log's: its head, its records in order, and its head anew."""

        def check(connection: Connection) -> T:
            head = partial(_head, connection, organization_id)
            return work(head(), _records(connection, organization_id), head)

        return await self._read(check)

    def close(self) -> None:
        """Finishes what is under way and closes the connections."""
        self._reader.close()
        self._writer.close()
        self._engine.dispose()

    async def _read(self, work: Callable[[Connection], T]) -> T:
        with told_as_unavailable(_STORE):
            return await self._reader.run(partial(self._on_connection, work))

    def _on_connection(self, work: Callable[[Connection], T]) -> T:
        with self._reading.connect() as connection:
            return work(connection)

    def _change(self, work: Callable[[AuditTransaction], T]) -> T:
        with self._engine.begin() as connection:
            return work(_Transaction(connection, self._chains, self._transaction_on(connection)))


class _Transaction:
    """An `AuditTransaction` on a connection that has begun one."""

    def __init__(self, connection: Connection, chains: AuditChains, governed: Transaction) -> None:
        self._connection = connection
        self._chains = chains
        self._governed = governed

    @property
    def governed(self) -> Transaction:
        return self._governed

    def append(self, entry: AuditEntry, *more: AuditEntry) -> Sequence[AuditRecord]:
        return self._chains.append(self._connection, entry, *more)

    def begun(self, organization_id: str, sequence: int) -> AuditRecord | None:
        row = self._connection.execute(_FIND, {"id": organization_id, "sequence": sequence}).mappings().first()
        if row is None:
            return None
        self._chains.lock(self._connection, organization_id)
        return _record(row)

    def is_ended(self, organization_id: str, sequence: int) -> bool:
        return self._connection.execute(_ENDED, {"id": organization_id, "sequence": sequence}).first() is not None


def _records(connection: Connection, organization_id: str) -> Iterator[AuditRecord]:
    """In order, a batch a statement: none runs for long, however long the chain is."""
    sequence = _BEFORE_ALL
    while True:
        rows = connection.execute(_AFTER, {"id": organization_id, "sequence": sequence}).mappings().all()
        if not rows:
            return
        yield from map(_record, rows)
        sequence = rows[-1]["sequence"]


def _head(connection: Connection, organization_id: str) -> Head:
    row = connection.execute(_HEAD, {"id": organization_id}).mappings().first()
    return Head(**row) if row is not None else Head(organization_id)


def _record(row: RowMapping) -> AuditRecord:
    return AuditRecord(**row)
