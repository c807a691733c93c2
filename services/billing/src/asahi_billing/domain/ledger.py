"""The ledger as callers know it: records go in once, sums and lists come out, of one organisation at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from asahi.billing.v1.billing_pb2 import GetCostSummaryResponse, Inference, UsageRecord
from asahi_billing.domain import paging, reports
from asahi_billing.domain.rules import check_records
from asahi_billing.domain.store import Span, UsageStore
from asahi_core.errors import InvalidRequest, NotFound
from asahi_core.prices import PriceBook

_CHECKED_ON_THE_LOOP = 50
"""Checking a record takes 10 µs, a thread for it about as much as this many."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of the records of one call."""

    new: int
    duplicates: int


class Ledger:
    """Checks what goes into a `UsageStore`, and says what is in it."""

    def __init__(self, store: UsageStore, prices: PriceBook) -> None:
        self._store = store
        self._prices = prices
        self.recorded = 0
        """Records that were new."""
        self.duplicates = 0
        """Records that were known already."""
        self.refused = 0
        """Calls refused because of what they said."""

    async def record(self, records: Sequence[UsageRecord]) -> Recorded:
        """Adds records durably; those known by (organisation, request, attempt) change nothing.

        Raises:
            InvalidRequest: a record contradicts the contract, itself or the price book; none is added.
            Overloaded: too many records wait already.
            ServiceUnavailable: the store cannot be reached; the records may or may not have been added.
        """
        try:
            if len(records) > _CHECKED_ON_THE_LOOP:
                await asyncio.to_thread(check_records, records, self._prices)
            else:
                check_records(records, self._prices)
        except InvalidRequest:
            self.refused += 1
            raise
        new = await self._store.append(records)
        duplicates = len(records) - new
        self.recorded += new
        self.duplicates += duplicates
        return Recorded(new, duplicates)

    async def cost_summary(self, organization_id: str, span: Span) -> GetCostSummaryResponse:
        """The organisation's exact sums over `span`.

        Raises:
            InvalidRequest: no organisation, or a span that ends before it starts.
        """
        _check_organization(organization_id)
        if span.end_ns < span.start_ns:
            raise InvalidRequest("end_time is before start_time; it must not be.", param="end_time")
        return reports.cost_summary(await self._store.totals(organization_id, span))

    async def inferences(self, organization_id: str, size: int, token: str) -> tuple[list[Inference], str]:
        """A page of the organisation's requests, newest first, and the next page's token (empty: the last).

        Request ids sort by time, so their order is the order of the list, and a page begins where the one before
        ended, whatever has come in since.

        Raises:
            InvalidRequest: no organisation, or a size or token that cannot be.
        """
        _check_organization(organization_id)
        size, before = paging.page_size(size), paging.request_of_token(token)
        requests = await self._store.newest_requests(organization_id, before, size + 1)
        page = [reports.inference(records) for records in requests[:size]]
        more = len(requests) > size
        return page, paging.token_of_request(page[-1].record.request_id) if more else ""

    async def inference(self, organization_id: str, request_id: str) -> Inference:
        """One request of the organisation.

        Raises:
            InvalidRequest: no organisation.
            NotFound: unknown, or another organisation's.
        """
        _check_organization(organization_id)
        records = await self._store.request(organization_id, request_id)
        if not records:
            raise NotFound("No such request; it may not be recorded yet.", param="request_id")
        return reports.inference(records)

    async def orphans(self, organization_id: str, size: int, token: str) -> tuple[list[UsageRecord], str]:
        """A page of an organisation's orphans (empty: of all), newest first, and the next page's token.

        Raises:
            InvalidRequest: a size or token that cannot be.
        """
        size, before = paging.page_size(size), paging.orphan_of_token(token)
        found = await self._store.newest_orphans(organization_id, before, size + 1)
        page = found[:size]
        more = len(found) > size
        return [record for _, record in page], paging.token_of_orphan(page[-1][0]) if more else ""


def _check_organization(organization_id: str) -> None:
    if not organization_id:
        raise InvalidRequest("organization_id is missing: figures are of one organisation.", param="organization_id")
