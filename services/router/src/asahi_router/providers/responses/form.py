"""OpenAI's responses as a `QuestionForm`."""

from asahi.type.v1.chat_pb2 import Api, ChatRequest
from asahi_router.providers.dialect import StreamWriter, Translated
from asahi_router.providers.fields import Places
from asahi_router.providers.responses import answer, question
from asahi_router.providers.responses.stream import ResponseStreamWriter


class Responses:
    """Says everything by the modules beside this one."""

    api = Api.API_OPENAI_RESPONSES

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
