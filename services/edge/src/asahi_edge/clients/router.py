"""The router service: which model, and its answer."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"]


class RouterClient:
    """Calls the router service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = RouterServiceStub(channel)

    @asynccontextmanager
    async def complete(self, task: pb.Task, *, explain: bool) -> AsyncIterator[AsyncIterator[pb.CompleteResponse]]:
        """Opens a completion; its events come in order. Leaving the context early cancels the provider call."""
        start = pb.CompleteRequest(start=pb.CompleteStart(task=task, explain=explain))
        events = cast("AsyncGenerator[pb.CompleteResponse, None]", self._stub.Complete(_once(start)))
        async with aclosing(events):
            yield events

    async def list_models(self) -> pb.ListModelsResponse:
        """The catalog."""
        return await self._stub.ListModels(pb.ListModelsRequest())


async def _once(message: pb.CompleteRequest) -> AsyncIterator[pb.CompleteRequest]:
    yield message
