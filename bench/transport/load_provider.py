"""The calling side of part B: the SDK over its two transports against a lean client; prints its samples as JSON."""

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import aiohttp
import msgspec
import openai
import uvloop
from openai.types.chat import ChatCompletionMessageParam

from bench.transport.provider import CHUNKS
from bench.transport.sampling import Sample, sample

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Summarise the following text in one sentence, please. " * 18}
]


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str
    usage: _Usage | None = None


def sdk(client: openai.AsyncOpenAI) -> dict[str, Callable[[], Awaitable[object]]]:
    """Plain and streamed call of the SDK."""

    async def plain() -> None:
        reply = await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        assert reply.choices[0].message.content

    async def streamed() -> None:
        await asyncio.sleep(random.random() * 0.005)
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
        count = 0
        async for chunk in stream:
            count += chunk.choices[0].delta.content is not None
        assert count == CHUNKS

    return {"plain": plain, "streamed": streamed}


def lean(session: aiohttp.ClientSession, base: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Plain and streamed call with bytes in, bytes out and one parse."""
    url = f"{base}/chat/completions"
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    decoder = msgspec.json.Decoder(_Completion)
    encoder = msgspec.json.Encoder()

    async def plain() -> None:
        body = encoder.encode({"model": "gpt-4o-mini", "messages": MESSAGES})
        async with session.post(url, data=body, headers=headers) as response:
            reply = decoder.decode(await response.read())
        message = reply.choices[0].message
        assert message is not None
        assert message.content

    async def streamed() -> None:
        await asyncio.sleep(random.random() * 0.005)
        body = encoder.encode({"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True})
        count = 0
        rest = b""
        async with session.post(url, data=body, headers=headers) as response:
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event != b"data: [DONE]":
                        delta = decoder.decode(memoryview(event)[6:]).choices[0].delta
                        count += delta is not None and delta.content is not None
        assert count == CHUNKS

    return {"plain": plain, "streamed": streamed}


async def main(port: str) -> list[Sample]:
    """Measure all cases once, in random order."""
    base = f"http://127.0.0.1:{port}/v1"
    samples: list[Sample] = []
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        openai.AsyncOpenAI(api_key="k", base_url=base) as over_httpx,
        openai.AsyncOpenAI(api_key="k", base_url=base, http_client=openai.DefaultAioHttpClient()) as over_aiohttp,
    ):

        async def cpu() -> int:
            async with session.get(f"http://127.0.0.1:{port}/cpu") as response:
                return int(await response.read())

        clients = [
            ("SDK as it comes", sdk(over_httpx)),
            ("SDK over aiohttp", sdk(over_aiohttp)),
            ("lean", lean(session, base)),
        ]
        random.shuffle(clients)
        for name, calls in clients:
            for concurrency, count in ((1, 200), (16, 640)):
                samples.append(
                    await sample(
                        f"{name}, plain, c={concurrency}",
                        calls["plain"],
                        cpu,
                        calls=count,
                        concurrency=concurrency,
                    )
                )
            samples.append(
                await sample(
                    f"{name}, streamed chunk",
                    calls["streamed"],
                    cpu,
                    calls=48,
                    concurrency=16,
                    operations_per_call=CHUNKS,
                )
            )
    return samples


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
        print(json.dumps([asdict(one) for one in runner.run(main(*sys.argv[2:]))]))
