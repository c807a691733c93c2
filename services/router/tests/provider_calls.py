"""Calls to real clients of the simulator, as tests make them."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from asahi.type.v1.chat_pb2 import Answer, AnswerDelta, Api, NativeBody, Prompt
from asahi_router.domain.provider import Provider, ProviderCall
from asahi_router.providers import ProviderConfig, ProviderProtocol, ProviderTimeouts, build_provider

MODEL = "gpt-6-luna"
KEY = "sk-test-0123456789abcdef"
QUESTION = "How do I plan a small garden?"
OPENAI_BODY: dict[str, Any] = {"model": "asahi", "messages": [{"role": "user", "content": QUESTION}]}
ANTHROPIC_BODY: dict[str, Any] = {**OPENAI_BODY, "max_tokens": 400}
BODIES = {Api.API_OPENAI_CHAT_COMPLETIONS: OPENAI_BODY, Api.API_ANTHROPIC_MESSAGES: ANTHROPIC_BODY}
PROTOCOLS = {
    Api.API_OPENAI_CHAT_COMPLETIONS: ProviderProtocol.OPENAI,
    Api.API_ANTHROPIC_MESSAGES: ProviderProtocol.ANTHROPIC,
}


@dataclass(slots=True)
class Gathered:
    """All that came of a call."""

    deltas: list[AnswerDelta] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)

    @property
    def events(self) -> list[Any]:
        return [json.loads(delta.event_json) for delta in self.deltas]

    @property
    def body(self) -> Any:
        return json.loads(self.answer.native.body)


def native(api: Api.ValueType, body: dict[str, Any] | None = None) -> Prompt:
    """A question in a provider's protocol."""
    return Prompt(native=NativeBody(api=api, body=json.dumps(body or BODIES[api]).encode()))


def provider_call(prompt: Prompt, *, stream: bool = False, model: str = MODEL) -> ProviderCall:
    """A call of `model`."""
    return ProviderCall("request-1", 1, model, model, prompt, stream)


async def gather(provider: Provider, call: ProviderCall) -> Gathered:
    """Makes the call."""
    gathered = Gathered()
    async with aclosing(provider.call(call)) as events:
        async for event in events:
            if isinstance(event, Answer):
                gathered.answer = event
            else:
                gathered.deltas.append(event)
    return gathered


@asynccontextmanager
async def client_of(
    url: str, protocol: ProviderProtocol, *, timeouts: ProviderTimeouts | None = None, **settings: Any
) -> AsyncIterator[Provider]:
    """A client of the provider at `url`."""
    base_url = f"{url}/v1" if protocol == ProviderProtocol.OPENAI else url
    config = ProviderConfig(
        id=protocol.value, protocol=protocol, base_url=base_url, timeouts=timeouts or ProviderTimeouts(), **settings
    )
    provider = build_provider(config, KEY)
    try:
        yield provider
    finally:
        await provider.close()
