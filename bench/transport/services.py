"""The peer: one servicer, reachable as plain gRPC, over the multiplexed stream, and as bare framed bytes."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import grpc
import transport_pb2 as pb
import transport_pb2_grpc as rpc
import uvloop

from bench.transport.framing import serve_frames
from bench.transport.multiplex import MultiplexServicer

Context = grpc.aio.ServicerContext[Any, Any]


@cache
def _reply_body(size: int) -> bytes:
    return bytes(index % 251 for index in range(size))


class Peer(rpc.PeerServicer):
    """Answers at once with as many bytes as were asked for."""

    def __init__(self, multiplexed: list[MultiplexServicer]) -> None:
        self._multiplexed = multiplexed

    async def Call(self, request: pb.CallRequest, context: Context) -> pb.CallReply:  # noqa: N802
        """Answer; a model named `absent` is NOT_FOUND, one named `slow` takes a second."""
        if request.model == "absent":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        if request.model == "slow":
            await asyncio.sleep(1)
        return pb.CallReply(body=_reply_body(request.reply_bytes))

    async def Chunks(  # noqa: N802
        self,
        request: pb.ChunksRequest,
        context: Context,
    ) -> AsyncIterator[pb.Chunk]:
        """Stream small chunks at a pace."""
        for index in range(request.count):
            if request.fail_after and index == request.fail_after:
                await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
            yield pb.Chunk(index=index, text="some token text")
            if request.pace_us:
                await asyncio.sleep(request.pace_us / 1e6)

    async def Converse(  # noqa: N802
        self,
        requests: AsyncIterator[pb.ChunksRequest],
        context: Context,
    ) -> AsyncIterator[pb.Chunk]:
        """Answer the first message with its chunks."""
        async for chunk in self.Chunks(await anext(aiter(requests)), context):
            yield chunk

    async def Usage(self, request: pb.UsageRequest, context: Context) -> pb.UsageReply:  # noqa: N802
        """Report the CPU time of this process, and what the multiplexed streams wrote."""
        del request, context
        outboxes = [outbox for servicer in self._multiplexed for outbox in servicer.outboxes]
        return pb.UsageReply(
            cpu_ns=time.process_time_ns(),
            frames=sum(outbox.frames for outbox in outboxes),
            envelopes=sum(outbox.envelopes for outbox in outboxes),
            cancelled=sum(servicer.cancelled for servicer in self._multiplexed),
        )


async def _serve(directory: str) -> None:
    """Serve without linger on a TCP port and a socket file, with one millisecond of it on a second port."""
    at_once, lingering = MultiplexServicer(), MultiplexServicer(linger=0.001)
    peer = Peer([at_once, lingering])
    ports = []
    servers = []
    for multiplex in (at_once, lingering):
        rpc.add_PeerServicer_to_server(peer, multiplex)
        server = grpc.aio.server()
        rpc.add_PeerServicer_to_server(peer, server)
        rpc.add_MultiplexServicer_to_server(multiplex, server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        servers.append(server)
    servers[0].add_insecure_port(f"unix:{directory}/peer.sock")
    for server in servers:
        await server.start()
    print(*ports, await serve_frames(_reply_body), flush=True)
    await servers[0].wait_for_termination()


if __name__ == "__main__":
    asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[2] == "uvloop" else None).run(_serve(sys.argv[1]))
