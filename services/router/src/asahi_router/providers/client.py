"""A provider behind HTTP, whatever protocol it speaks and whatever protocol the question is written in."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated

import msgspec

from asahi.type.v1.chat_pb2 import Answer, AnswerDelta, ChatAnswer, NativeBody
from asahi_core.clock import Clock, SystemClock
from asahi_core.errors import InvalidRequest, UnsupportedByModel
from asahi_router.domain.counting import TokenCount
from asahi_router.domain.embedding import EMBEDDINGS, read_embedding_question
from asahi_router.domain.provider import FailureKind, ProviderCall, ProviderFailure, Received
from asahi_router.providers import embeddings
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.config import ProviderConfig, ProviderProtocol
from asahi_router.providers.dialect import (
    Dialect,
    Mark,
    Native,
    NativeReader,
    QuestionForm,
    StreamReader,
    StreamWriter,
    Summary,
    TextPiece,
    Translated,
)
from asahi_router.providers.fields import placed
from asahi_router.providers.openai.dialect import OpenAI
from asahi_router.providers.progress import Progress
from asahi_router.providers.responses.form import Responses
from asahi_router.providers.transport import Transport

_EMPTY = "its answer is empty"
_NO_HEADERS: Mapping[str, str] = {}


def build_provider(config: ProviderConfig, api_key: str, clock: Clock | None = None) -> "HttpProvider":
    """The client of the provider that `config` describes. `api_key`: empty: none is sent."""
    dialects: dict[ProviderProtocol, Dialect] = {
        ProviderProtocol.OPENAI: OpenAI(),
        ProviderProtocol.ANTHROPIC: Anthropic(),
    }
    return HttpProvider(config, api_key, dialects[config.protocol], list(dialects.values()), clock or SystemClock())


class HttpProvider:
    """Calls one provider. Knows its key, and shows it to nobody else."""

    def __init__(
        self, config: ProviderConfig, api_key: str, spoken: Dialect, dialects: Sequence[Dialect], clock: Clock
    ) -> None:
        """`spoken`: the provider's protocol; `dialects`: those that questions may be written in, beside responses."""
        self._config = config
        self._spoken = spoken
        self._responses = Responses()
        forms: tuple[QuestionForm, ...] = (*dialects, self._responses)
        self._dialects = {form.api: form for form in forms}
        self._clock = clock
        self._transport = Transport(config, spoken.path, spoken.headers(api_key), clock)
        self._under_way: dict[tuple[str, int], Progress] = {}

    def __repr__(self) -> str:
        return f"HttpProvider({self._config.id!r})"

    @property
    def id(self) -> str:
        """`openai`, `anthropic`, `simulator`, or the operator's own name for it."""
        return self._config.id

    async def call(self, call: ProviderCall) -> AsyncGenerator[AnswerDelta | Answer, None]:
        """Deltas where asked for, then the whole answer, with usage. Closing the generator ends the call at once."""
        key = (call.request_id, call.attempt)
        progress = self._under_way[key] = Progress(self._clock)
        try:
            if call.prompt.native.api == EMBEDDINGS:
                yield await self._embeddings(call, progress)
                return
            asked = self._asked(call)
            native = self._native(asked)
            question = self._question(call, asked)
            if call.keeps_prompt:
                question = self._spoken.keeping(question)
            headers = self._headers(call, native)
            path = native.path if native is not None else ""
            if not call.stream:
                body = await self._transport.post(question, headers, progress, path)
                yield self._answer(call, asked, body, progress)
                return
            reader: NativeReader
            async with aclosing(self._transport.stream(question, headers, progress, path)) as events:
                if native is not None:
                    reader = native.stream_reader()
                    async for event in events:
                        mark = reader.read(event, progress)
                        if not mark & Mark.UNSHOWN:
                            yield _delta(mark, event)
                        progress.ended = bool(mark & Mark.LAST)
                else:
                    reader = foreign = self._spoken.stream_reader()
                    writer = asked.stream_writer(call.model, self._now()) if asked is not None else None
                    async for event in events:
                        progress.ended = bool(foreign.read(event, progress) & Mark.LAST)
                        for delta in _translated(foreign, writer):
                            yield delta
            if not progress.ended:
                raise progress.failure(FailureKind.INTERRUPTED, "its answer ended too soon")
            yield self._answer(call, asked, reader.body(), progress)
        finally:
            del self._under_way[key]

    async def _embeddings(self, call: ProviderCall, progress: Progress) -> Answer:
        """The vectors of all inputs; only servers of OpenAI's protocol are asked."""
        count = len(read_embedding_question(call.prompt.native.body).input)
        question = embeddings.adapt(call.prompt.native.body, call.provider_model)
        body = await self._transport.post(question, self._headers(call, None), progress, embeddings.PATH)
        try:
            vectors, tokens = embeddings.read_answer(body, count)
        except (ValueError, msgspec.DecodeError) as error:
            words = str(error) if type(error) is ValueError else "its answer is not what its protocol says"
            raise progress.failure(FailureKind.FAILED, words) from error
        return embeddings.answer(call, self._config.id, vectors, tokens)

    async def count_tokens(self, call: ProviderCall) -> TokenCount | None:
        """The provider's own count of a question in its protocol; None: it does not count beforehand."""
        spoken, asked = self._spoken, self._asked(call)
        if asked is not spoken or not spoken.count_path:
            return None
        question = spoken.adapt(call.prompt.native.body, call.provider_model, stream=False)
        progress = Progress(self._clock)
        body = await self._transport.post(question, self._headers(call, spoken), progress, spoken.count_path)
        try:
            return TokenCount(_count.decode(body).input_tokens, body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderFailure(FailureKind.FAILED, "its answer is not what its protocol says") from error

    def received(self, call: ProviderCall) -> Received:
        """What has come so far of a call under way."""
        progress = self._under_way.get((call.request_id, call.attempt))
        return progress.received() if progress is not None else Received(sent_after_ms=None)

    async def close(self) -> None:
        """Ends all connections."""
        await self._transport.close()

    def _asked(self, call: ProviderCall) -> QuestionForm | None:
        """The protocol of the question; None: the intermediate form."""
        if call.prompt.HasField("chat"):
            return None
        dialect = self._dialects.get(call.prompt.native.api)
        if dialect is None:
            raise InvalidRequest("The protocol of the question is not one that models are asked in.", param="prompt")
        return dialect

    def _native(self, asked: QuestionForm | None) -> Native | None:
        """The protocol of the question, if it goes on as it is; None: it is translated."""
        if asked is self._spoken:
            return self._spoken
        return self._responses if asked is self._responses and self._config.responses else None

    def _question(self, call: ProviderCall, asked: QuestionForm | None) -> bytes:
        spoken, body = self._spoken, call.prompt.native.body
        native = self._native(asked)
        if native is not None:
            return native.adapt(body, call.provider_model, stream=call.stream)
        chat = call.prompt.chat if asked is None else asked.read_question(body)
        try:
            return spoken.write_question(
                chat, call.provider_model, stream=call.stream, default_max_tokens=self._config.default_max_tokens
            )
        except UnsupportedByModel as error:
            raise (placed(error, asked.places(body)) if asked is not None else error) from None

    def _headers(self, call: ProviderCall, native: Native | None) -> Mapping[str, str]:
        """Those of this call alone: the caller's, as far as they are the protocol's, and for the simulator its name."""
        sent = call.prompt.native.headers if native is not None else _NO_HEADERS
        headers = {name: value for name, value in sent.items() if native is not None and name in native.own_headers}
        if self._config.label_calls:
            headers |= {"x-asahi-request-id": call.request_id, "x-asahi-attempt": str(call.attempt)}
        return headers

    def _answer(self, call: ProviderCall, asked: QuestionForm | None, body: bytes, progress: Progress) -> Answer:
        """The whole answer in the form of the question; raises ProviderFailure if `body` is none."""
        native = self._native(asked)
        try:
            summary = (native or self._spoken).summarize(body)
            progress.usage = summary.usage
            if summary.empty:
                raise progress.failure(FailureKind.FAILED, _EMPTY)
            answer = Answer(
                model=call.model, provider=self._config.id, finish_reason=summary.finish_reason, usage=summary.usage
            )
            if native is not None:
                answer.native.CopyFrom(NativeBody(api=native.api, body=body))
                return answer
            chat = self._spoken.read_answer(body)
        except (ValueError, IndexError, msgspec.DecodeError) as error:
            words = str(error) if type(error) is ValueError else "its answer is not what its protocol says"
            raise progress.failure(FailureKind.FAILED, words) from error
        if asked is None:
            answer.chat.CopyFrom(chat)
        else:
            written = asked.write_answer(self._translated(call, body, chat, summary))
            answer.native.CopyFrom(NativeBody(api=asked.api, body=written))
        return answer

    def _translated(self, call: ProviderCall, body: bytes, chat: ChatAnswer, summary: Summary) -> Translated:
        return Translated(id=_id.decode(body).id, created=self._now(), model=call.model, chat=chat, summary=summary)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


class _Id(msgspec.Struct):
    id: str = ""


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_id = msgspec.json.Decoder(_Id)
_count = msgspec.json.Decoder(_Count)


def _delta(mark: Mark, event: bytes) -> AnswerDelta:
    return AnswerDelta(event_json=event, finishes=bool(mark & Mark.FINISHES), usage_only=bool(mark & Mark.USAGE_ONLY))


def _translated(reader: StreamReader, writer: StreamWriter | None) -> "list[AnswerDelta]":
    """The event that was read last, in the form of the question; without a writer as bare text."""
    pieces = reader.pieces()
    if writer is None:
        return [AnswerDelta(text=piece.text) for piece in pieces if isinstance(piece, TextPiece)]
    return [_delta(mark, event) for piece in pieces for mark, event in writer.write(piece)]
