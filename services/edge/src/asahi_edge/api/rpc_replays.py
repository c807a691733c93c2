"""Answers to gRPC calls that bear an `idempotency-key`: messages as they were sent, for whoever repeats the call."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message

from asahi_edge.domain.replays import Claim, Recording, Replays

_LENGTH_BYTES = 4
REPLAYED = (("idempotent-replayed", "true"),)


async def record(recording: Recording, messages: AsyncGenerator[Message, None]) -> None:
    """Records what is sent, each message behind its length."""
    recording.begin({})
    async with aclosing(messages) as coming:
        async for message in coming:
            sent = message.SerializeToString()
            recording.add(len(sent).to_bytes(_LENGTH_BYTES, "big") + sent)


async def answer_once(
    replays: Replays,
    claim: Claim,
    messages: AsyncGenerator[Message, None],
    context: "grpc.aio.ServicerContext[Any, Any]",
) -> AsyncIterator[bytes]:
    """The serialized messages of a call: those of `messages`, or of the same call before.

    Raises:
        AsahiError: what ended the call, or why it is not made again.
    """
    recording, repeated = replays.open(claim, lambda kept: record(kept, messages))
    held, told = b"", False
    async with aclosing(recording.chunks()) as chunks:
        async for chunk in chunks:
            if not told and (repeated or recording.replayed):
                await context.send_initial_metadata(REPLAYED)
            told = True
            held += chunk
            while len(held) >= _LENGTH_BYTES:
                end = _LENGTH_BYTES + int.from_bytes(held[:_LENGTH_BYTES], "big")
                if len(held) < end:
                    break
                yield held[_LENGTH_BYTES:end]
                held = held[end:]
