"""A provider that speaks more than one protocol: each model's calls go to the client of its own."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from asahi.type.v1.chat_pb2 import Answer, AnswerDelta
from asahi_router.domain.counting import Counter, TokenCount
from asahi_router.domain.provider import Provider, ProviderCall, Received


class CountingProvider(Provider, Counter, Protocol):
    """A provider that may be able to count tokens."""


class ManyTongued:
    """A `Provider` made of several with the same id."""

    def __init__(self, provider_id: str, clients: Mapping[str, CountingProvider]) -> None:
        """`clients` by catalog id of the model."""
        self._id = provider_id
        self._clients = clients

    @property
    def id(self) -> str:
        """The id that all of them share."""
        return self._id

    def call(self, call: ProviderCall) -> AsyncGenerator[AnswerDelta | Answer, None]:
        """As the model's client does."""
        return self._clients[call.model].call(call)

    async def count_tokens(self, call: ProviderCall) -> TokenCount | None:
        """As the model's client does."""
        return await self._clients[call.model].count_tokens(call)

    def received(self, call: ProviderCall) -> Received:
        """As the model's client does."""
        return self._clients[call.model].received(call)

    async def close(self) -> None:
        """Ends all connections."""
        for client in dict.fromkeys(self._clients.values()):
            await client.close()
