"""OpenAI's chat completions as a `Dialect`."""

from asahi.type.v1.chat_pb2 import Api, ChatAnswer, ChatRequest
from asahi_router.providers.dialect import StreamReader, StreamWriter, Summary, Translated
from asahi_router.providers.fields import Places
from asahi_router.providers.openai import answer, question, translation
from asahi_router.providers.openai.stream import OpenAIStreamReader, OpenAIStreamWriter


class OpenAI:
    """Says everything by the modules beside this one."""

    api = Api.API_OPENAI_CHAT_COMPLETIONS
    path = "/chat/completions"
    count_path = ""
    own_headers: frozenset[str] = frozenset()

    def headers(self, api_key: str) -> dict[str, str]:
        """Headers of every call; servers of one's own may need no key."""
        return {"authorization": f"Bearer {api_key}"} if api_key else {}

    def adapt(self, body: bytes, model: str, *, stream: bool) -> bytes:
        """A question in this protocol, for `model`, with all else as it was written."""
        return question.adapt(body, model, stream=stream)

    def keeping(self, question: bytes) -> bytes:
        """The question as it is: prompts are kept without being asked for."""
        return question

    def read_question(self, body: bytes) -> ChatRequest:
        """A question in this protocol."""
        return question.read_question(body)

    def places(self, body: bytes) -> Places:
        """Where the parts of the intermediate form stand in a question."""
        return question.places(body)

    def write_question(self, chat: ChatRequest, model: str, *, stream: bool, default_max_tokens: int) -> bytes:
        """The question in this protocol, which needs no bound of the answer."""
        return translation.write_question(chat, model, stream=stream)

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
        return OpenAIStreamReader()

    def stream_writer(self, model: str, created: int) -> StreamWriter:
        """For one answer by `model`."""
        return OpenAIStreamWriter(model, created)
