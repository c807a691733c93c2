"""Importing providers' cost reports and comparing the ledger with them, as callers know it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asahi.billing.v1.reconciliation_pb2 import ImportReportResponse, Reconciliation, ReportFormat, ReportUsed
from asahi_billing.domain.cost_reports.charges import Charges
from asahi_billing.domain.cost_reports.comparing import Covered, Reported, compare
from asahi_billing.domain.cost_reports.reading import ReportReading
from asahi_billing.domain.cost_reports.store import Days, Import, ReportStore, Sides
from asahi_billing.domain.rules import MAX_ID_CHARACTERS
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest
from asahi_core.prices import PriceBook

MOST_KEYS = 1000
_LONGEST_TIME = timedelta(days=400)
_ON_A_THREAD = 16 * 1024
_NANOS = 1_000_000_000
_VENDORS = {
    ReportFormat.REPORT_FORMAT_OPENAI: "openai",
    ReportFormat.REPORT_FORMAT_ANTHROPIC: "anthropic",
}


@dataclass(frozen=True, slots=True)
class Head:
    """Whose report it is: as `ReportHead`."""

    organization_id: str
    provider: str
    keys: Mapping[str, str]


class ReportDesk:
    """Imports reports and compares. `prices_of` has an organisation's price book."""

    def __init__(self, store: ReportStore, prices_of: Callable[[str], PriceBook], clock: Clock) -> None:
        self._store = store
        self._prices_of = prices_of
        self._clock = clock

    async def import_report(self, head: Head, pieces: AsyncIterator[bytes]) -> ImportReportResponse:
        """Keeps a report, if it is not known, and compares the ledger with it.

        Raises:
            InvalidRequest: it cannot be understood; nothing is kept.
            RequestTooLarge: it is too long.
        """
        _check(head)
        charges, digest = await _read(head, pieces)
        known = await self._store.known(digest)
        made = known or Import(
            id=digest,
            organization_id=head.organization_id,
            format=charges.format,
            imported_at_ns=int(self._clock.now().timestamp() * _NANOS),
            rows=charges.rows,
            first_day=min(charges.days),
            last_day=max(charges.days),
        )
        if known is None:
            await self._store.keep(made, _covered(head, charges), _reported(head, charges))
        compared = await self._compare(head.organization_id, Days(made.first_day, made.last_day), made.id)
        return ImportReportResponse(
            import_id=made.id,
            known=known is not None,
            format=made.format,
            rows=made.rows,
            first_day=made.first_day,
            last_day=made.last_day,
            reconciliation=compared,
        )

    async def reconciliation(self, organization_id: str, start: datetime, end: datetime) -> Reconciliation:
        """The ledger beside the reports, over the days (UTC) that [start, end) touches.

        Raises:
            InvalidRequest: it is no time, or too long a one.
        """
        if not start < end:
            raise InvalidRequest("end_time is not after start_time; it must be.", param="end_time")
        if end - start > _LONGEST_TIME:
            raise InvalidRequest(f"At most {_LONGEST_TIME.days} days are compared at once.", param="start_time")
        last = end - timedelta(microseconds=1)
        days = Days(start.astimezone(UTC).date().isoformat(), last.astimezone(UTC).date().isoformat())
        return await self._compare(organization_id, days, "")

    async def _compare(self, organization_id: str, days: Days, import_id: str) -> Reconciliation:
        sides = await self._store.sides(organization_id, days, import_id, _steps(self._prices_of(organization_id)))
        return await asyncio.to_thread(self._result, sides)

    def _result(self, sides: Sides) -> Reconciliation:
        result = compare([one for one, _ in sides.covered], sides.groups, sides.reported, self._prices_of)
        result.orphans, result.orphan_nanos = sides.orphans, sides.orphan_nanos
        result.orphan_calls.extend(sides.orphan_calls)
        days: dict[str, set[str]] = {}
        for one, import_id in sides.covered:
            days.setdefault(import_id, set()).add(one.day)
        for used in sides.imports:
            report = ReportUsed(import_id=used.id, format=used.format, days=len(days.get(used.id, ())))
            report.imported_at.FromNanoseconds(used.imported_at_ns)
            result.reports.append(report)
        return result


async def _read(head: Head, pieces: AsyncIterator[bytes]) -> tuple[Charges, str]:
    """What the report says, and a digest of it and its head."""
    reading, digest = ReportReading(), hashlib.sha256()
    for text in (head.organization_id, head.provider, *(f"{k}\0{v}" for k, v in sorted(head.keys.items()))):
        digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    async for piece in pieces:
        digest.update(piece)
        if len(piece) > _ON_A_THREAD:
            await asyncio.to_thread(reading.feed, piece)
        else:
            reading.feed(piece)
    return await asyncio.to_thread(reading.finish), f"report_{digest.hexdigest()[:32]}"


def _check(head: Head) -> None:
    if len(head.keys) > MOST_KEYS:
        raise InvalidRequest(f"keys has {len(head.keys)} entries; it takes at most {MOST_KEYS}.", param="keys")
    names = [("organization_id", head.organization_id), ("provider", head.provider)]
    for field, name in [*names, *(("keys", text) for pair in head.keys.items() for text in pair)]:
        if len(name) > MAX_ID_CHARACTERS or "\0" in name:
            raise InvalidRequest(f"{field}: {name[:40]!r} is no id.", param=field)


def _provider(head: Head, charges: Charges, key: str) -> str:
    return head.keys.get(key) or head.provider or ("" if head.keys else _VENDORS[charges.format])


def _covered(head: Head, charges: Charges) -> list[Covered]:
    providers = {*head.keys.values(), _provider(head, charges, "")}
    return [Covered(provider, charges.format, day) for provider in sorted(providers) for day in sorted(charges.days)]


def _reported(head: Head, charges: Charges) -> list[Reported]:
    return [
        Reported(
            day=key.day,
            provider=_provider(head, charges, key.key),
            model=key.model,
            item=key.item,
            key=key.key,
            nanos=charged.nanos,
            tokens=charged.tokens,
        )
        for key, charged in charges.by_key.items()
    ]


def _steps(prices: PriceBook) -> list[int]:
    """Sizes of a prompt at which some price changes."""
    sizes = {
        over
        for model in prices
        if (price := prices.model(model)) is not None
        for period in price.periods
        for over, _ in period.tiers
    }
    return sorted(size for size in sizes if size >= 0)
