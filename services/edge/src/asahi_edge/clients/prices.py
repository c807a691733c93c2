"""The billing service: organisations' own prices, as their owners read and set them."""

from asahi.billing.v1 import prices_pb2 as pb
from asahi.billing.v1.prices_pb2_grpc import PriceServiceStub
from asahi_core.prices.following import PriceFollower
from asahi_core.rpc.channel import ServiceChannel

_REPRICE_S = 300.0


class PricesClient:
    """Calls the billing service; what is set here, this edge charges by at once."""

    def __init__(self, channel: ServiceChannel, follower: PriceFollower) -> None:
        self._stub = PriceServiceStub(channel)
        self._follower = follower

    async def get(self, organization_id: str) -> pb.PriceSheet:
        """An organisation's prices."""
        return (await self._stub.GetPriceSheet(pb.GetPriceSheetRequest(organization_id=organization_id))).sheet

    async def reprice(self, request: pb.RepriceRequest) -> pb.RepriceResponse:
        """Books counter-entries for calls of a time."""
        return await self._stub.Reprice(request, timeout=_REPRICE_S)

    async def set(self, request: pb.SetPriceSheetRequest) -> pb.PriceSheet:
        """Sets an organisation's prices."""
        sheet = (await self._stub.SetPriceSheet(request)).sheet
        await self._follower.refresh()
        return sheet
