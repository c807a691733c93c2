"""The ledger as callers know it: records go in once, sums and lists come out, of one organisation at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from asahi.billing.v1.billing_pb2 import (
    GetCostSummaryResponse,
    Inference,
    RejectedRecord,
    SpendingPlan,
    UsageRecord,
)
from asahi_billing.domain import paging, reports
from asahi_billing.domain.plans import check_plan
from asahi_billing.domain.rules import check_records, refusals
from asahi_billing.domain.store import Span, UsageStore
from asahi_core.errors import AsahiError, InternalError, InvalidRequest, NotFound
from asahi_core.prices import Books

_CHECKED_ON_THE_LOOP = 50
"""Checking a record takes 10 µs, a thread for it about as much as this many."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of the records of one call."""

    new: int
    duplicates: int
    rejected: Sequence[RejectedRecord] = ()


class Ledger:
    """Checks what goes into a `UsageStore`, and says what is in it."""

    def __init__(self, store: UsageStore, prices: Books) -> None:
        self._store = store
        self._prices = prices
        self.recorded = 0
        """Records that were new."""
        self.duplicates = 0
        """Records that were known already."""
        self.refused = 0
        """Calls refused because of what they said."""
        self.rejected = 0
        """Records rejected one by one."""
        self.unusable_plans = 0
        """Plans left aside because they cannot be understood; their budgets count nothing."""

    async def record(
        self, records: Sequence[UsageRecord], plans: Sequence[SpendingPlan] = (), *, singly: bool = False
    ) -> Recorded:
        """Adds records durably; those known by (organisation, request, attempt) change nothing.

        They count in the budgets of `plans` and of those told before. With `singly`, a record that will never be
        taken is named and leaves the others alone.

        Raises:
            InvalidRequest: a record contradicts the contract, itself or the price book; none is added.
            Overloaded: too many records wait already.
            ServiceUnavailable: the store cannot be reached; the records may or may not have been added.
        """
        if len(records) > _CHECKED_ON_THE_LOOP:
            refused = await asyncio.to_thread(self._refusals, records, singly)
        else:
            refused = self._refusals(records, singly)
        usable = [plan for plan in plans if self._usable(plan)]
        good = {index: record for index, record in enumerate(records) if index not in refused}
        new, failed = await self._append(good, usable, singly)
        duplicates = len(good) - len(failed) - new
        self.recorded += new
        self.duplicates += duplicates
        rejected = tuple(_rejected(index, records[index], error) for index, error in sorted((refused | failed).items()))
        self.rejected += len(rejected)
        return Recorded(new, duplicates, rejected)

    async def _append(
        self, records: dict[int, UsageRecord], plans: Sequence[SpendingPlan], singly: bool
    ) -> tuple[int, dict[int, AsahiError]]:
        """How many of `records` were new, and, with `singly`, those that the store fails on."""
        if not records:
            return 0, {}
        try:
            return await self._store.append(list(records.values()), plans), {}
        except InternalError:
            if not singly:
                raise
        new, failed = 0, dict[int, AsahiError]()
        for index, record in records.items():
            try:
                new += await self._store.append([record], plans)
            except InternalError as error:
                failed[index] = error
        return new, failed

    def _refusals(self, records: Sequence[UsageRecord], singly: bool) -> dict[int, AsahiError]:
        """The records that will never be taken; raises the first one's fault unless `singly`."""
        try:
            if singly:
                return dict(refusals(records, self._prices))
            check_records(records, self._prices)
            return {}
        except InvalidRequest:
            self.refused += 1
            raise

    def _usable(self, plan: SpendingPlan) -> bool:
        try:
            check_plan(plan, "plan")
        except InvalidRequest:
            self.unusable_plans += 1
            return False
        return True

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


def _rejected(index: int, record: UsageRecord, error: AsahiError) -> RejectedRecord:
    return RejectedRecord(
        index=index,
        organization_id=record.organization_id,
        request_id=record.request_id,
        attempt=record.attempt,
        code=error.code,
        reason=error.message,
        param=error.param or "",
    )
