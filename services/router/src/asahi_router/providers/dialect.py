"""What a provider's protocol must be able to say: questions and answers, plain and streamed, both ways.

A question in the protocol of its provider is only adapted, never translated. Everything else goes through the
intermediate form: `ChatRequest`, `ChatAnswer`, and for streams the pieces below.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol

from asahi.type.v1.chat_pb2 import Api, ChatAnswer, ChatRequest, FinishReason
from asahi.type.v1.usage_pb2 import Usage
from asahi_router.providers.fields import Places
from asahi_router.providers.progress import Progress


class Mark(IntFlag):
    """What a stream's event is to those who pass it on."""

    PLAIN = 0
    FINISHES = 1
    """OpenAI's: it says why a choice ended."""
    USAGE_ONLY = 2
    """OpenAI's: it carries nothing but usage."""
    LAST = 4
    """It ends the stream."""
    UNSHOWN = 8
    """It is no part of the answer."""


@dataclass(frozen=True, slots=True)
class Began:
    """The answer begins; `usage`: what the provider said of its prompt by then."""

    id: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalPiece:
    """The next piece of a refusal."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingPiece:
    """The next piece of thoughts, their signature, or thoughts that are kept encrypted."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A tool call begins."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """The next piece of the arguments of the tool call that began last."""

    arguments: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is whole; `usage`: None: not reported."""

    finish_reason: FinishReason.ValueType
    usage: Usage | None


Piece = Began | TextPiece | RefusalPiece | ThinkingPiece | CallBegan | CallPiece | Ended


@dataclass(frozen=True, slots=True)
class Summary:
    """What Asahi needs of an answer that it passes on."""

    finish_reason: FinishReason.ValueType
    usage: Usage | None
    """None: not reported."""
    empty: bool = False
    """Whether there is nothing in it; such an answer is none."""


@dataclass(frozen=True, slots=True)
class Translated:
    """An answer to be written in another protocol than it came in."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str
    chat: ChatAnswer
    summary: Summary


class NativeReader(Protocol):
    """Reads one streamed answer that is passed on, event by event."""

    def read(self, event: bytes, progress: Progress) -> Mark:
        """Takes the event in; raises ProviderFailure if it is an error, or cannot be understood."""
        ...

    def body(self) -> bytes:
        """The body of the plain answer that all events together are."""
        ...


class StreamReader(NativeReader, Protocol):
    """Reads one streamed answer that may have to be translated."""

    def pieces(self) -> Iterator[Piece]:
        """The event that was read last, in the intermediate form."""
        ...


class StreamWriter(Protocol):
    """Writes one streamed answer, event by event."""

    def write(self, piece: Piece) -> Iterator[tuple[Mark, bytes]]:
        """The events that say `piece`."""
        ...


class QuestionForm(Protocol):
    """A protocol that questions may be written in, whatever the provider speaks."""

    api: Api.ValueType

    def read_question(self, body: bytes) -> ChatRequest:
        """A question in this protocol; raises InvalidRequest, or UnsupportedByModel for what cannot be carried."""
        ...

    def places(self, body: bytes) -> Places:
        """Where the parts of each message of `read_question` stand in `body`."""
        ...

    def write_answer(self, answer: Translated) -> bytes:
        """The body of a plain answer."""
        ...

    def stream_writer(self, model: str, created: int) -> StreamWriter:
        """For one answer by `model`; `created`: seconds since 1970."""
        ...


class Native(QuestionForm, Protocol):
    """A protocol that a provider may be asked in as it is."""

    path: str
    """After the provider's base URL."""
    own_headers: frozenset[str]
    """Headers that callers may send with a question in this protocol, in lower case."""

    def adapt(self, body: bytes, model: str, *, stream: bool) -> bytes:
        """A question in this protocol, for `model`, with all else as it was written; raises InvalidRequest."""
        ...

    def summarize(self, body: bytes) -> Summary:
        """Why a plain answer ended and what it consumed; raises ValueError if it is no answer."""
        ...

    def stream_reader(self) -> NativeReader:
        """For one answer."""
        ...


class Dialect(Native, Protocol):
    """A provider's protocol, which questions in others are translated into."""

    count_path: str
    """Where tokens are counted without an answer; empty: nowhere."""

    def keeping(self, question: bytes) -> bytes:
        """The same question, with the wish that all of it is kept for the next turn, where that must be asked for."""
        ...

    def headers(self, api_key: str) -> dict[str, str]:
        """Headers of every call."""
        ...

    def write_question(self, chat: ChatRequest, model: str, *, stream: bool, default_max_tokens: int) -> bytes:
        """The question in this protocol; raises UnsupportedByModel for what it cannot carry."""
        ...

    def read_answer(self, body: bytes) -> ChatAnswer:
        """A plain answer in the intermediate form; raises ValueError if it has what cannot be carried."""
        ...

    def stream_reader(self) -> StreamReader:
        """For one answer."""
        ...
