"""`asahi.billing.v1.PriceService`: organisations' own prices, and repricing by them."""

from typing import Any

import grpc

from asahi.billing.v1 import prices_pb2 as pb
from asahi.billing.v1 import prices_pb2_grpc
from asahi_billing.domain.price_sheets import PriceSheets
from asahi_billing.domain.repricing import Repricing

_Context = grpc.aio.ServicerContext[Any, Any]


class PriceServicer(prices_pb2_grpc.PriceServiceServicer):
    """Serves `PriceSheets`."""

    def __init__(self, sheets: PriceSheets, repricing: Repricing) -> None:
        self._sheets = sheets
        self._repricing = repricing

    async def GetPriceSheet(self, request: pb.GetPriceSheetRequest, context: _Context) -> pb.GetPriceSheetResponse:
        return pb.GetPriceSheetResponse(sheet=await self._sheets.get(request.organization_id))

    async def SetPriceSheet(self, request: pb.SetPriceSheetRequest, context: _Context) -> pb.SetPriceSheetResponse:
        expected = request.expected_version if request.HasField("expected_version") else None
        sheet = await self._sheets.set(request.organization_id, request.prices, expected, request.updated_by)
        return pb.SetPriceSheetResponse(sheet=sheet)

    async def ListPriceSheets(
        self, request: pb.ListPriceSheetsRequest, context: _Context
    ) -> pb.ListPriceSheetsResponse:
        return pb.ListPriceSheetsResponse(sheets=await self._sheets.changed(request.after_revision))

    async def Reprice(self, request: pb.RepriceRequest, context: _Context) -> pb.RepriceResponse:
        return await self._repricing.reprice(request)
