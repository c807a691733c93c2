"""The store of imported reports as the domain sees it, and the values that pass through it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from asahi.billing.v1.reconciliation_pb2 import ReconciledOrphan, ReportFormat
from asahi_billing.domain.cost_reports.comparing import Covered, LedgerGroup, Reported


@dataclass(frozen=True, slots=True)
class Import:
    """A report that was imported."""

    id: str
    organization_id: str
    format: ReportFormat.ValueType
    imported_at_ns: int
    rows: int
    first_day: str
    last_day: str


@dataclass(frozen=True, slots=True)
class Days:
    """Days (UTC), both inclusive, as 2026-11-24."""

    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a comparison, of one state of the database."""

    covered: Sequence[tuple[Covered, str]]
    """With the import that covers it."""
    imports: Sequence[Import]
    groups: Sequence[LedgerGroup]
    reported: Sequence[Reported]
    orphans: int
    orphan_nanos: int
    orphan_calls: Sequence[ReconciledOrphan]


class ReportStore(Protocol):
    """Keeps imported reports beside the ledger. Raises ServiceUnavailable when it cannot be reached."""

    async def known(self, import_id: str) -> Import | None:
        """The import of this name; None: it was never finished."""
        ...

    async def keep(self, made: Import, covered: Sequence[Covered], reported: Iterable[Reported]) -> None:
        """Keeps a report, all of it or nothing; its days take the place of those kept before."""
        ...

    async def sides(self, organization_id: str, days: Days, import_id: str, steps: Sequence[int]) -> Sides:
        """What reports of an organisation (empty: of the installation) and the ledger say of `days`.

        Only of the days of one import, if one is named. Prompts are told apart at `steps` (tokens, ascending).
        """
        ...
