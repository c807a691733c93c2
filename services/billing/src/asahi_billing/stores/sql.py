"""The ledger in a SQL database: one thread writes, a few read, each on a connection of its own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from structlog.typing import FilteringBoundLogger

from asahi.billing.v1.billing_pb2 import SpendingPlan, UsageRecord
from asahi_billing.domain.book import Balance, Book
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.operations import Operation, Record
from asahi_billing.domain.plans import AccountKey, Call
from asahi_billing.domain.rollups import ALL, TECHNIQUE, Additions
from asahi_billing.domain.spending_store import Audit
from asahi_billing.domain.store import OrphanPosition, Span, Totals
from asahi_billing.domain.windows import Calendar
from asahi_billing.stores import audit, postings, rollup_reads, rollups, statements
from asahi_billing.stores.group_commit import GroupCommit
from asahi_billing.stores.opening import READERS, Engines
from asahi_billing.stores.rows import from_row, to_row
from asahi_billing.stores.tables import USAGE_RECORDS
from asahi_core.clock import Clock
from asahi_core.errors import DeadlineExceeded, InternalError, Overloaded, ServiceUnavailable
from asahi_core.sql.engines import limit_statements

Result = TypeVar("Result")
_MOST_READS_WAITING = 100
_RETRY_AFTER_S = 1.0


class SqlStore:
    """A `UsageStore` and `SpendingStore` on a migrated database. Serves from `open` to `close`."""

    def __init__(
        self,
        engines: Engines,
        clock: Clock,
        log: FilteringBoundLogger,
        *,
        queue_records: int,
        read_limit_s: float,
        observe_commit_s: Callable[[float], None],
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._log = log
        self._read_limit_s = read_limit_s
        self._observe_commit_s = observe_commit_s
        self._count_repeated_answers = statements.count_repeated_answers()
        self._calendar = Calendar()
        self._commits: GroupCommit[Operation, Any] = GroupCommit(self._commit, capacity=queue_records)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._reads = 0
        self._touched: set[str] = set()
        self._touching = Lock()
        self.repeated_answers = 0
        """Answered records beyond the first of their request, in the whole ledger, as of the last commit."""

    @property
    def queue_records(self) -> int:
        """Most records that may wait."""
        return self._commits.capacity

    @property
    def waiting(self) -> int:
        """Records that are not committed yet."""
        return self._commits.waiting

    def open(self) -> None:
        """Starts writing, for callers of the running event loop."""
        with self._engines.writer.begin() as connection:
            self.repeated_answers = connection.execute(self._count_repeated_answers).scalar_one()
        self._commits.start()

    async def close(self) -> None:
        """Writes what waits, and closes the database."""
        await self._commits.close()
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        self._engines.dispose()

    async def append(self, records: Sequence[UsageRecord], plans: Sequence[SpendingPlan] = ()) -> int:
        """Adds what is not known yet, durably; says how many that were."""
        new: int = await self.run(Record(records, plans))
        return new

    async def run(self, operation: Operation) -> Any:
        """What `operation` answers, once it is durable."""
        weight = len(operation.records) + len(operation.reservations)
        return await self._commits.append(operation, max(1, weight))

    async def overdue(self, now_ns: int, limit: int) -> list[Call]:
        """Calls with an open hold whose lease is over, longest first."""

        def read(connection: Connection) -> list[Call]:
            return [audit.call(row) for row in connection.execute(audit.overdue(now_ns, limit))]

        return await self.read(read)

    async def standing(
        self, organization_id: str, now_ns: int, limit: int
    ) -> tuple[list[SpendingPlan], dict[AccountKey, Balance]]:
        """The organisation's plans, and its accounts whose window holds an instant."""

        def read(connection: Connection) -> tuple[list[SpendingPlan], dict[AccountKey, Balance]]:
            plans = [SpendingPlan.FromString(row.plan) for row in connection.execute(audit.plans(organization_id))]
            return plans, audit.standing(connection.execute(audit.present(organization_id, now_ns, limit)))

        return await self.read(read)

    async def check(self, organization_id: str, limit: int) -> Audit:
        """Adds all entries up again."""
        return await self.read(lambda connection: audit.audit(connection, organization_id, limit))

    async def totals(self, organization_id: str, span: Span) -> Totals:
        """The organisation's sums over `span`, of one state of the ledger."""

        def read(connection: Connection) -> Totals:
            figures = rollup_reads.by_value(connection, organization_id, ALL, span).get("", Figures())
            techniques = rollup_reads.by_value(connection, organization_id, TECHNIQUE, span)
            return Totals(figures, {technique: found.saved_nanos for technique, found in techniques.items()})

        return await self.read(read)

    def take_touched(self) -> set[str]:
        """Organisations whose accounts may have changed since the last call."""
        with self._touching:
            touched, self._touched = self._touched, set()
        return touched

    async def calls_after(
        self, organization_id: str, span: Span, after_id: int, limit: int
    ) -> list[tuple[int, UsageRecord]]:
        """Provider calls of a span, in the order in which they were recorded, after a place; each with its own."""

        def read(connection: Connection) -> list[tuple[int, UsageRecord]]:
            rows = connection.execute(statements.calls_after(organization_id, span, after_id, limit))
            return [(row.id, from_row(row)) for row in rows]

        return await self.read(read)

    async def newest_requests(self, organization_id: str, before: str, limit: int) -> list[list[UsageRecord]]:
        """The organisation's newest requests before one, newest first, each with all its records."""

        def read(connection: Connection) -> list[list[UsageRecord]]:
            rows = connection.execute(statements.newest_requests(organization_id, before, limit))
            requests = groupby(rows, key=lambda row: str(row.request_id))
            return [[from_row(row) for row in same][::-1] for _, same in requests]

        return await self.read(read)

    async def request(self, organization_id: str, request_id: str) -> list[UsageRecord]:
        """All records of one request of the organisation, in order of attempts."""

        def read(connection: Connection) -> list[UsageRecord]:
            return [from_row(row) for row in connection.execute(statements.request(organization_id, request_id))]

        return await self.read(read)

    async def newest_orphans(
        self, organization_id: str, before: OrphanPosition | None, limit: int
    ) -> list[tuple[OrphanPosition, UsageRecord]]:
        """The newest orphans before a position of an organisation (empty: of all), newest first."""

        def read(connection: Connection) -> list[tuple[OrphanPosition, UsageRecord]]:
            rows = connection.execute(statements.newest_orphans(organization_id, before, limit))
            return [(OrphanPosition(row.occurred_at_ns, row.id), from_row(row)) for row in rows]

        return await self.read(read)

    def _commit(self, operations: Sequence[Operation]) -> list[Any]:
        started = self._clock.monotonic()
        try:
            try:
                outcomes, repeated = self._transact(operations)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # Whether it had committed before it died or not: every operation may be done twice.
                outcomes, repeated = self._transact(operations)
        except (OperationalError, InterfaceError) as error:
            self._log.error("ledger_not_written", error=str(error.orig))
            message = "The ledger cannot be written at the moment; try again shortly."
            raise ServiceUnavailable(message, retry_after_s=_RETRY_AFTER_S) from error
        except Exception as error:
            if len(operations) == 1:
                self._log.error("operation_failed", exc_info=error)
                raise InternalError("The ledger fails on this; its log says why.") from error
            raise
        self._observe_commit_s(self._clock.monotonic() - started)
        self.repeated_answers = repeated
        with self._touching:
            self._touched |= {call.organization_id for operation in operations for call in operation.calls}
        return outcomes

    def _transact(self, operations: Sequence[Operation]) -> tuple[list[Any], int]:
        with self._engines.writer.begin() as connection:
            postings.lock(connection, operations)
            book = Book(self._calendar, int(self._clock.now().timestamp() * 1_000_000_000))
            postings.load(connection, operations, book)
            outcomes = [operation.apply(book) for operation in operations]
            postings.save(connection, book)
            self._add_adjustments(connection, book)
            if not any(operation.records for operation in operations):
                return outcomes, self.repeated_answers
            new = self._add_records(connection, operations)
            outcomes = [
                count if operation.records else outcome
                for operation, outcome, count in zip(operations, outcomes, new, strict=True)
            ]
            return outcomes, connection.execute(self._count_repeated_answers).scalar_one()

    def _add_adjustments(self, connection: Connection, book: Book) -> None:
        """Adds what repricings add to recorded costs, to the ledger and to its rollups."""
        postings.save_adjustments(connection, book)
        additions = Additions()
        for adjustment in book.adjustments:
            additions.adjust(adjustment.record, adjustment.nanos)
        rollups.save(connection, additions)

    def _add_records(self, connection: Connection, operations: Sequence[Operation]) -> list[int]:
        """Adds the records that are new, to the ledger and to its rollups; how many each operation had."""
        calls, answered = rollups.known(connection, [record for one in operations for record in one.records])
        additions, counts = Additions(), list[int]()
        rows: list[dict[str, Any]] = []
        for operation in operations:
            before = len(rows)
            for record in operation.records:
                request = (record.organization_id, record.request_id)
                if (*request, record.attempt) in calls:
                    continue
                calls.add((*request, record.attempt))
                repeats = record.answered and request in answered
                if repeats:
                    ids = {"organization_id": record.organization_id, "request_id": record.request_id}
                    self._log.error("answered_twice", attempt=record.attempt, **ids)
                if record.answered:
                    answered.add(request)
                rows.append(to_row(record) | {"repeats_answer": repeats})
                additions.add(record, repeats_answer=repeats)
            counts.append(len(rows) - before)
        if rows:
            connection.execute(USAGE_RECORDS.insert(), rows)
            rollups.save(connection, additions)
        return counts

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        """What `query` finds in one state of the ledger.

        Raises:
            DeadlineExceeded: it takes longer than a question may.
            Overloaded, ServiceUnavailable: too many wait already; the database is away.
        """
        if self._reads >= _MOST_READS_WAITING:
            message = f"The ledger has {self._reads} questions to answer already; try again shortly."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)
        self._reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, query)
        finally:
            self._reads -= 1

    def _query(self, query: Callable[[Connection], Result]) -> Result:
        deadline = self._clock.monotonic() + self._read_limit_s
        try:
            with self._engines.reader.begin() as connection:
                limit_statements(connection, lambda: self._clock.monotonic() > deadline)
                return query(connection)
        except OperationalError as error:
            if self._clock.monotonic() > deadline:
                message = f"The ledger took more than {self._read_limit_s:g} s; ask for a shorter time."
                raise DeadlineExceeded(message) from error
            self._log.error("ledger_not_read", error=str(error.orig))
            message = "The ledger cannot be read at the moment; try again shortly."
            raise ServiceUnavailable(message, retry_after_s=_RETRY_AFTER_S) from error
