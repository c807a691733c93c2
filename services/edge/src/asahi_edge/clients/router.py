"""The router service: which model, and its answer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.errors import Cancelled
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"]
_CANCEL = pb.CompleteRequest(cancel=pb.Cancel())
_CANCEL_WITHIN_S = 5.0


class RouterClient:
    """Calls the router service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = RouterServiceStub(channel)

    @asynccontextmanager
    async def complete(self, task: pb.Task, *, explain: bool, stream: bool) -> AsyncIterator["RouterCompletion"]:
        """Opens a completion. Leaving the context early without `cancel` looks like this process vanishing."""
        start = pb.CompleteRequest(start=pb.CompleteStart(task=task, explain=explain, stream=stream))
        completion = RouterCompletion(self._stub, start)
        try:
            yield completion
        finally:
            await completion.close()

    async def list_models(self) -> pb.ListModelsResponse:
        """The catalog."""
        return await self._stub.ListModels(pb.ListModelsRequest())

    async def record_outcome(self, outcome: pb.RecordOutcomeRequest) -> None:
        """Keeps what is known about how good an answer was."""
        await self._stub.RecordOutcome(outcome)


class RouterCompletion:
    """A completion under way."""

    def __init__(self, stub: RouterServiceStub, start: pb.CompleteRequest) -> None:
        self._over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._given_up = False
        responses = stub.Complete(_requests(start, self._over))
        self._responses = cast("AsyncGenerator[pb.CompleteResponse, None]", responses)
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[object] | None = None

    async def events(self) -> AsyncGenerator[pb.CompleteResponse, None]:
        """What happens, in order; raises Cancelled if the router does not answer a `cancel` in time."""
        self._reader = asyncio.current_task()
        try:
            async with aclosing(self._responses) as responses:
                async for response in responses:
                    yield response
        except asyncio.CancelledError:
            if self._given_up:
                raise Cancelled("The call was given up.") from None
            raise

    def cancel(self) -> None:
        """Gives it up: the provider call ends at once, its outcome still comes."""
        if not self._over.done():
            self._given_up = True
            self._over.set_result(True)
            self._timer = asyncio.get_running_loop().call_later(_CANCEL_WITHIN_S, self._stop_reading)

    async def close(self) -> None:
        """Ends the call; nobody may be reading its events."""
        if not self._over.done():
            self._over.set_result(False)
        if self._timer is not None:
            self._timer.cancel()
        await self._responses.aclose()

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()


async def _requests(start: pb.CompleteRequest, over: "asyncio.Future[bool]") -> AsyncIterator[pb.CompleteRequest]:
    """The start, then `cancel` if the call is given up."""
    yield start
    if await asyncio.shield(over):
        yield _CANCEL
