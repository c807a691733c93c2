"""The router service: which model, and its answer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.errors import AsahiError, Cancelled
from asahi_core.rpc.channel import OpenStream, ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"]
_COMPLETE = f"/{SERVICE.full_name}/Complete"
_CANCEL = pb.CompleteRequest(cancel=pb.Cancel())
_CANCEL_WITHIN_S = 5.0
_END_WITHIN_S = 1.0


class RouterClient:
    """Calls the router service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._channel = channel
        self._stub = RouterServiceStub(channel)

    @asynccontextmanager
    async def complete(self, task: pb.Task, *, explain: bool, stream: bool) -> AsyncIterator["RouterCompletion"]:
        """Opens a completion. Leaving the context early without `cancel` looks like this process vanishing."""
        call = self._channel.open_stream(
            _COMPLETE, pb.CompleteRequest.SerializeToString, pb.CompleteResponse.FromString
        )
        completion = RouterCompletion(call)
        try:
            await call.write(pb.CompleteRequest(start=pb.CompleteStart(task=task, explain=explain, stream=stream)))
            yield completion
        finally:
            await completion.close()

    async def decide(self, task: pb.Task) -> pb.Decision:
        """What a completion would decide, with every candidate; calls nobody."""
        return (await self._stub.Decide(pb.DecideRequest(task=task))).decision

    async def list_models(self) -> pb.ListModelsResponse:
        """The catalog."""
        return await self._stub.ListModels(pb.ListModelsRequest())

    async def record_outcome(self, outcome: pb.RecordOutcomeRequest) -> None:
        """Keeps what is known about how good an answer was."""
        await self._stub.RecordOutcome(outcome)


class RouterCompletion:
    """A completion under way."""

    def __init__(self, call: OpenStream) -> None:
        self._call = call
        self._giving_up: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[object] | None = None
        self._completed = False

    async def events(self) -> AsyncGenerator[pb.CompleteResponse, None]:
        """What happens, in order; raises Cancelled if the router does not answer a `cancel` in time."""
        self._reader = asyncio.current_task()
        try:
            while (response := await self._call.read()) is not None:
                self._completed = response.HasField("completed")
                yield response
        except asyncio.CancelledError:
            if self._giving_up is not None:
                raise Cancelled("The call was given up.") from None
            raise

    def cancel(self) -> None:
        """Gives it up: the provider call ends at once, its outcome still comes."""
        if self._giving_up is None:
            self._giving_up = asyncio.create_task(self._give_up())

    async def close(self) -> None:
        """Ends the call: by itself after the last event, which so is known to have arrived, else at once."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        if self._completed:
            with suppress(AsahiError, TimeoutError):
                await asyncio.wait_for(self._call.read(), _END_WITHIN_S)
        self._call.cancel()

    async def _give_up(self) -> None:
        try:
            await self._call.write(_CANCEL)
        except AsahiError:
            return  # it has ended, which the reader is told
        await asyncio.sleep(_CANCEL_WITHIN_S)
        if self._reader is not None:
            self._reader.cancel()
