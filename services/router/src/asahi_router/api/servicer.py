"""`asahi.router.v1.RouterService`: from messages to the domain and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import grpc

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1 import router_pb2_grpc
from asahi_core.errors import InvalidRequest
from asahi_router.api.attached import Attachment, Handled
from asahi_router.domain.completion import Completions
from asahi_router.domain.completion_ports import Decider
from asahi_router.domain.counting import TokenCounts
from asahi_router.domain.erasure import Eraser
from asahi_router.domain.listing import Listing
from asahi_router.domain.outcomes import Outcomes
from asahi_router.domain.worth import Worth

_Context = grpc.aio.ServicerContext[Any, Any]


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Serves decisions, completions, counts, the catalog and outcomes."""

    def __init__(
        self,
        decider: Decider,
        completions: Completions,
        counts: TokenCounts,
        listing: Listing,
        outcomes: Outcomes,
        *,
        eraser: Eraser,
        worth: Worth,
        handled: Handled,
        stop: asyncio.Event,
    ) -> None:
        """`handled` surrounds each completion of a standing connection; `stop` is set when the service is to stop."""
        self._decider = decider
        self._completions = completions
        self._counts = counts
        self._listing = listing
        self._outcomes = outcomes
        self._eraser = eraser
        self._worth = worth
        self._handled = handled
        self._stop = stop

    async def Decide(self, request: pb.DecideRequest, context: _Context) -> pb.DecideResponse:
        return pb.DecideResponse(decision=self._decider.decide(request.task, explain=True).decision)

    async def Complete(
        self, requests: AsyncIterator[pb.CompleteRequest], context: _Context
    ) -> AsyncIterator[pb.CompleteResponse]:
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("start"):
            raise InvalidRequest("The first message of a completion must be `start`.", param="start")
        async with aclosing(self._completions.run(first.start, requests)) as events:
            async for event in events:
                yield event

    async def Attach(
        self, requests: AsyncIterator[pb.AttachRequest], context: _Context
    ) -> AsyncIterator[pb.AttachResponse]:
        attachment = Attachment(self._completions, self._handled)
        context.add_done_callback(cast(Any, lambda _context: attachment.end()))  # its type is nominal
        async for response in attachment.responses(requests, self._stop):
            yield response

    async def CountTokens(self, request: pb.CountTokensRequest, context: _Context) -> pb.CountTokensResponse:
        return await self._counts.count(request.task)

    async def ListModels(self, request: pb.ListModelsRequest, context: _Context) -> pb.ListModelsResponse:
        return self._listing.models()

    async def RecordOutcome(self, request: pb.RecordOutcomeRequest, context: _Context) -> pb.RecordOutcomeResponse:
        await self._outcomes.record(request)
        return pb.RecordOutcomeResponse()

    async def CompareRouting(self, request: pb.CompareRoutingRequest, context: _Context) -> pb.CompareRoutingResponse:
        return await self._worth.compare(request.organization_id, request.policy)

    async def EraseOutcomes(self, request: pb.EraseOutcomesRequest, context: _Context) -> pb.EraseOutcomesResponse:
        erased = await self._eraser.erase(request.organization_id, request.user_id)
        return pb.EraseOutcomesResponse(outcomes=erased.outcomes, examples=erased.examples)
