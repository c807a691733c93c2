"""OpenAI's responses as a `Native` protocol: passed on to providers that speak it, translated for others."""

from asahi.type.v1.chat_pb2 import Api, ChatRequest
from asahi_router.providers.dialect import NativeReader, StreamWriter, Summary, Translated
from asahi_router.providers.fields import Places
from asahi_router.providers.responses import answer, native, question
from asahi_router.providers.responses.stream import ResponseStreamWriter


class Responses:
    """Says everything by the modules beside this one."""

    api = Api.API_OPENAI_RESPONSES
    path = "/responses"
    own_headers: frozenset[str] = frozenset()

    def adapt(self, body: bytes, model: str, *, stream: bool) -> bytes:
        """A question in this protocol, for `model`, with all else as it was written."""
        return native.adapt(body, model, stream=stream)

    def summarize(self, body: bytes) -> Summary:
        """Why a plain answer ended and what it consumed."""
        return native.summarize(body)

    def stream_reader(self) -> NativeReader:
        """For one answer."""
        return native.ResponseStreamReader()

    def read_question(self, body: bytes) -> ChatRequest:
        """A question in this protocol."""
        return question.read_question(body)

    def places(self, body: bytes) -> Places:
        """Where the parts of the intermediate form stand in a question."""
        return question.places(body)

    def write_answer(self, translated: Translated) -> bytes:
        """The body of a plain answer."""
        return answer.write_answer(translated)

    def stream_writer(self, model: str, created: int) -> StreamWriter:
        """For one answer by `model`."""
        return ResponseStreamWriter(model, created)
