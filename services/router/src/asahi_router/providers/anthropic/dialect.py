"""Anthropic's messages as a `Dialect`."""

from asahi.type.v1.chat_pb2 import Api, ChatAnswer, ChatRequest
from asahi_router.providers.anthropic import answer, question, translation
from asahi_router.providers.anthropic.stream import AnthropicStreamReader, AnthropicStreamWriter
from asahi_router.providers.dialect import StreamReader, StreamWriter, Summary, Translated
from asahi_router.providers.fields import Places

_VERSION = "2023-06-01"


class Anthropic:
    """Says everything by the modules beside this one."""

    api = Api.API_ANTHROPIC_MESSAGES
    path = "/v1/messages"
    count_path = "/v1/messages/count_tokens"
    own_headers = frozenset({"anthropic-version", "anthropic-beta"})

    def headers(self, api_key: str) -> dict[str, str]:
        """Headers of every call."""
        version = {"anthropic-version": _VERSION}
        return {**version, "x-api-key": api_key} if api_key else version

    def adapt(self, body: bytes, model: str, *, stream: bool) -> bytes:
        """A question in this protocol, for `model`, with all else as it was written."""
        return question.adapt(body, model, stream=stream)

    def keeping(self, question: bytes) -> bytes:
        """The same question, a JSON object, all of which the provider is to keep for five minutes.

        The field stands for a breakpoint at the last block (Anthropic, "Automatic caching").
        """
        return question.rstrip()[:-1] + b',"cache_control":{"type":"ephemeral"}}'

    def read_question(self, body: bytes) -> ChatRequest:
        """A question in this protocol."""
        return question.read_question(body)

    def places(self, body: bytes) -> Places:
        """Where the parts of the intermediate form stand in a question."""
        return question.places(body)

    def write_question(self, chat: ChatRequest, model: str, *, stream: bool, default_max_tokens: int) -> bytes:
        """The question in this protocol."""
        return translation.write_question(chat, model, stream=stream, default_max_tokens=default_max_tokens)

    def summarize(self, body: bytes) -> Summary:
        """Why a plain answer ended and what it consumed."""
        return answer.summarize(body)

    def read_answer(self, body: bytes) -> ChatAnswer:
        """A plain answer in the intermediate form."""
        return answer.read_answer(body)

    def write_answer(self, translated: Translated) -> bytes:
        """The body of a plain answer."""
        return answer.write_answer(translated)

    def stream_reader(self) -> StreamReader:
        """For one answer."""
        return AnthropicStreamReader()

    def stream_writer(self, model: str, created: int) -> StreamWriter:
        """For one answer by `model`; this protocol tells no time."""
        return AnthropicStreamWriter(model)
