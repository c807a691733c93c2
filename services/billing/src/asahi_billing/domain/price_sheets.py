"""Organisations' own prices: who may set what, in versions, and where everybody hears of it."""

from collections.abc import Sequence
from typing import Protocol

from asahi.billing.v1.prices_pb2 import OverridingPrice, PriceSheet
from asahi_billing.domain.rules import MAX_ID_CHARACTERS
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest, VersionConflict
from asahi_core.prices import OrganizationPrices
from asahi_core.prices.sheets import overrides_of

MOST_SHEETS = 500


class PriceSheetStore(Protocol):
    """Keeps price sheets, in versions. Raises ServiceUnavailable when it cannot be reached."""

    async def newest(self, organization_id: str) -> PriceSheet:
        """The organisation's sheet in its present version; version 0: it never had any."""
        ...

    async def add(self, sheet: PriceSheet, before: int) -> PriceSheet | None:
        """Keeps a sheet as the version after `before`; None: that is not the present one any more."""
        ...

    async def changed(self, after_revision: int, limit: int) -> Sequence[PriceSheet]:
        """Newest sheets of organisations that changed after a revision, in the order of their revisions."""
        ...


class PriceSheets:
    """Checks what is set, and keeps `prices` up to date with what any process has set."""

    def __init__(self, store: PriceSheetStore, prices: OrganizationPrices, clock: Clock) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock

    async def get(self, organization_id: str) -> PriceSheet:
        """The organisation's prices.

        Raises:
            InvalidRequest: no organisation.
        """
        _check_organization(organization_id)
        return await self._store.newest(organization_id)

    async def set(
        self, organization_id: str, prices: Sequence[OverridingPrice], expected: int | None, updated_by: str
    ) -> PriceSheet:
        """Puts `prices` in the place of all before; sets nothing that holds already.

        Raises:
            InvalidRequest: a price is impossible.
            VersionConflict: they are at another version than `expected`.
        """
        _check_organization(organization_id)
        sheet = PriceSheet(organization_id=organization_id, prices=prices, updated_by=updated_by[:MAX_ID_CHARACTERS])
        overrides_of(sheet)
        while True:
            present = await self._store.newest(organization_id)
            if expected is not None and present.version != expected:
                message = f"The prices are at version {present.version}, not {expected}; read them again."
                raise VersionConflict(message, param="version")
            if list(present.prices) == list(prices):
                return present
            sheet.version = present.version + 1
            sheet.updated_at.FromDatetime(self._clock.now())
            kept = await self._store.add(sheet, present.version)
            if kept is not None:
                await self.refresh()
                return kept

    async def changed(self, after_revision: int) -> Sequence[PriceSheet]:
        """What has changed after a revision."""
        return await self._store.changed(after_revision, MOST_SHEETS)

    async def refresh(self) -> None:
        """Takes over what was set since the last time, by whichever process."""
        while sheets := await self._store.changed(self._prices.revision, MOST_SHEETS):
            for sheet in sheets:
                self._prices.put(sheet)


def _check_organization(organization_id: str) -> None:
    if not organization_id or len(organization_id) > MAX_ID_CHARACTERS or "\0" in organization_id:
        raise InvalidRequest("organization_id is missing, or no id.", param="organization_id")
