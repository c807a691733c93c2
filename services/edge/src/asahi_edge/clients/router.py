"""The router service: which model, and its answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.rpc.channel import ServiceChannel
from asahi_edge.clients.router_link import SERVICE, AttachedCompletion, RouterLinks

__all__ = ["SERVICE", "RouterClient"]
_ERASE_S = 60.0


class RouterClient:
    """Calls the router service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._links = RouterLinks(channel)
        self._stub = RouterServiceStub(channel)

    @asynccontextmanager
    async def complete(
        self, task: pb.Task, *, explain: bool, stream: bool, confirm: bool
    ) -> AsyncIterator[AttachedCompletion]:
        """Opens a completion; `confirm`: each provider call waits for `AttachedCompletion.confirm`.

        Leaving the context early without `cancel` looks like this process vanishing.
        """
        completion = self._links.begin()
        try:
            completion.start.task.CopyFrom(task)
            completion.start.explain, completion.start.stream = explain, stream
            completion.start.confirm_attempts = confirm
            yield completion
        finally:
            completion.close()

    @asynccontextmanager
    async def compare(self, task: pb.Task, comparison: pb.Comparison) -> AsyncIterator[AttachedCompletion]:
        """Asks for a second answer to compare with the one given; each provider call waits for `confirm`."""
        async with self.complete(task, explain=False, stream=False, confirm=True) as completion:
            completion.start.comparison.CopyFrom(comparison)
            yield completion

    async def decide(self, task: pb.Task) -> pb.Decision:
        """What a completion would decide, with every candidate; calls nobody."""
        return (await self._stub.Decide(pb.DecideRequest(task=task))).decision

    async def count_tokens(self, task: pb.Task) -> pb.CountTokensResponse:
        """The tokens of a question; no answer is asked for."""
        return await self._stub.CountTokens(pb.CountTokensRequest(task=task))

    async def close(self) -> None:
        """Ends the standing connections."""
        await self._links.close()

    async def list_models(self) -> pb.ListModelsResponse:
        """The catalog."""
        return await self._stub.ListModels(pb.ListModelsRequest())

    async def record_outcome(self, outcome: pb.RecordOutcomeRequest) -> None:
        """Keeps what is known about how good an answer was."""
        await self._stub.RecordOutcome(outcome)

    async def compare_routing(self, organization_id: str, policy: RoutingPolicy) -> pb.CompareRoutingResponse:
        """What routing was worth beside simpler policies."""
        return await self._stub.CompareRouting(pb.CompareRoutingRequest(organization_id=organization_id, policy=policy))

    async def erase_outcomes(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        """Drops what is known about answers, to one end user or to all; how many outcomes and examples there were."""
        request = pb.EraseOutcomesRequest(organization_id=organization_id, user_id=user_id)
        erased = await self._stub.EraseOutcomes(request, timeout=_ERASE_S)
        return erased.outcomes, erased.examples
