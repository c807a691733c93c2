"""The provider `local`: the cache service's own model, which embeds texts and costs nothing."""

from collections.abc import AsyncGenerator

from asahi.cache.v1 import cache_pb2
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi.type.v1.chat_pb2 import Answer, AnswerDelta
from asahi_core.errors import ContextLengthExceeded, InvalidRequest
from asahi_core.rpc.channel import ServiceChannel
from asahi_router.domain.counting import TokenCount
from asahi_router.domain.embedding import EMBEDDINGS, LOCAL, read_embedding_question
from asahi_router.domain.provider import FailureKind, ProviderCall, ProviderFailure, Received
from asahi_router.providers.embeddings import answer

SERVICE = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]


class LocalProvider:
    """Asks the cache service. Nothing that fails here is billed, so nothing is kept of a call under way."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._channel = channel
        self._stub = CacheServiceStub(channel)

    @property
    def id(self) -> str:
        """Always `local`."""
        return LOCAL

    async def call(self, call: ProviderCall) -> AsyncGenerator[AnswerDelta | Answer, None]:
        """The whole answer to a question of embeddings.

        Raises:
            ProviderFailure: the service cannot be reached, or answered something else.
            ContextLengthExceeded: a text is longer than the model reads.
            AsahiError: what the service says: there is no model, or too much waits already.
        """
        if call.prompt.native.api != EMBEDDINGS:
            raise InvalidRequest("The local model embeds texts, and answers nothing else.", param="model")
        texts = read_embedding_question(call.prompt.native.body).texts
        response = await self._stub.Embed(cache_pb2.EmbedRequest(texts=texts))
        if len(response.embeddings) != len(texts):
            words = f"its answer has {len(response.embeddings)} vectors for {len(texts)} inputs"
            raise ProviderFailure(FailureKind.FAILED, words)
        for index, embedded in enumerate(response.embeddings):
            if embedded.cut:
                message = (
                    f"input[{index}] is longer than the {embedded.tokens} tokens that {call.model} reads; split it."
                )
                raise ContextLengthExceeded(message, param="input")
        tokens = sum(embedded.tokens for embedded in response.embeddings)
        yield answer(call, LOCAL, [embedded.vector for embedded in response.embeddings], tokens)

    async def count_tokens(self, call: ProviderCall) -> TokenCount | None:
        """Nothing: it answers no conversations whose tokens could be asked for."""
        return None

    def received(self, call: ProviderCall) -> Received:
        """Nothing, and nothing is billed."""
        return Received(sent_after_ms=None)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()
