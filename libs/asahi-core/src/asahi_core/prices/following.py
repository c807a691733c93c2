"""Following the prices that organisations set, in every process that charges or estimates."""

import asyncio

from structlog.typing import FilteringBoundLogger

from asahi.billing.v1 import prices_pb2 as pb
from asahi.billing.v1.prices_pb2_grpc import PriceServiceStub
from asahi_core.errors import AsahiError
from asahi_core.prices.sheets import OrganizationPrices
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["PriceService"]
_FOLLOW_S = 1.0
_TIMEOUT_S = 5.0


class PriceFollower:
    """Keeps `prices` as the billing service behind `channel` has them."""

    def __init__(self, channel: ServiceChannel, prices: OrganizationPrices) -> None:
        self._stub = PriceServiceStub(channel)
        self._prices = prices

    async def refresh(self) -> None:
        """Takes over what has changed since the last time.

        Raises:
            AsahiError: billing cannot be asked.
        """
        while True:
            asked = pb.ListPriceSheetsRequest(after_revision=self._prices.revision)
            sheets = (await self._stub.ListPriceSheets(asked, timeout=_TIMEOUT_S)).sheets
            if not sheets:
                return
            for sheet in sheets:
                self._prices.put(sheet)

    async def follow(self, log: FilteringBoundLogger) -> None:
        """Refreshes every second, until it is cancelled; while billing is away, prices that are known go on to hold."""
        reachable = True
        while True:
            try:
                await self.refresh()
                reachable = True
            except AsahiError as error:
                if reachable:
                    log.warning("prices_not_followed", error=error.message)
                reachable = False
            await asyncio.sleep(_FOLLOW_S)
