"""Streamed answers in OpenAI's protocol, read and written."""

from collections.abc import Iterator
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import FinishReason
from asahi.type.v1.usage_pb2 import Usage
from asahi_router.domain.provider import FailureKind, ProviderFailure
from asahi_router.providers.counts import Junk
from asahi_router.providers.dialect import (
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Mark,
    Piece,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
)
from asahi_router.providers.failure import failure_from_event
from asahi_router.providers.openai.answer import (
    UsageBody,
    completion_id,
    finish_reason,
    usage_of,
    worst,
    written_reason,
    written_usage,
)
from asahi_router.providers.openai.assembly import assemble
from asahi_router.providers.progress import Progress

_DONE = b"[DONE]"


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str = ""
    choices: list[_Choice] = []
    usage: UsageBody | Junk = None
    service_tier: Any = None
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_chunk = msgspec.json.Decoder(_Chunk)
_END = _Chunk()


class OpenAIStreamReader:
    """Reads `chat.completion.chunk`s up to `[DONE]`."""

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self._last = _END
        self._began = False
        self._reasons: dict[int, FinishReason.ValueType] = {}
        self._refused: set[int] = set()
        self._usage: Usage | None = None
        self._call = -1
        self._held: list[Piece] = []
        """What was said in the midst of tool calls: it comes after them."""
        self._progress: Progress | None = None

    def read(self, event: bytes, progress: Progress) -> Mark:
        """Takes the event in; raises ProviderFailure if it is an error, or cannot be understood."""
        if event == _DONE:
            if not self._reasons and not progress.pieces:
                raise progress.failure(FailureKind.FAILED, "its answer is empty")
            self._last = _END
            return Mark.LAST | Mark.UNSHOWN
        try:
            chunk = _chunk.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = FailureKind.INTERRUPTED if progress.pieces else FailureKind.FAILED
            raise progress.failure(kind, "its answer is not what its protocol says") from error
        if chunk.error is not msgspec.UNSET:
            raise failure_from_event(event, progress.received(), begun=progress.pieces > 0)
        self._last = chunk
        self._progress = progress
        self._events.append(event)
        mark = Mark.PLAIN
        for choice in chunk.choices:
            if choice.delta is not None:
                self._count(choice.index, choice.delta, progress)
            if choice.finish_reason is not None:
                refused = choice.index in self._refused
                self._reasons[choice.index] = finish_reason(choice.finish_reason, refused=refused)
                mark = Mark.FINISHES
        if chunk.usage is not None:
            self._usage = progress.usage = usage_of(chunk.usage, chunk.service_tier)
            if not chunk.choices:
                begun = self._reasons or progress.pieces
                return Mark.USAGE_ONLY if begun else Mark.USAGE_ONLY | Mark.UNSHOWN
        return mark

    def pieces(self) -> Iterator[Piece]:
        """The event that was read last, in the intermediate form; the first choice only."""
        chunk = self._last
        if chunk is _END:
            yield from self._held
            reasons = self._reasons.values() or (FinishReason.FINISH_REASON_UNSPECIFIED,)
            yield Ended(worst(reasons), self._usage)
            return
        if not self._began:
            self._began = True
            yield Began(chunk.id, None)
        for choice in chunk.choices:
            delta = choice.delta
            if delta is None or choice.index:
                continue
            said = list(_said(delta))
            if self._call < 0:
                yield from said
            else:
                self._held += said
            for call in delta.tool_calls or ():
                yield from self._call_pieces(call)

    def body(self) -> bytes:
        """The body of the plain answer that all events together are."""
        return assemble(self._events)

    def _call_pieces(self, call: _Call) -> Iterator[Piece]:
        function = call.function or _Function()
        if call.index < self._call:
            received = self._progress.received() if self._progress is not None else None
            words = "its tool calls come interleaved, which cannot be translated"
            raise ProviderFailure(FailureKind.INTERRUPTED, words, received=received)
        if call.index != self._call:
            self._call = call.index
            yield CallBegan(call.id or "", function.name or "")
        if function.arguments:
            yield CallPiece(function.arguments)

    def _count(self, index: int, delta: _Delta, progress: Progress) -> None:
        if delta.content:
            progress.add(delta.content)
        if delta.reasoning_content:
            progress.add(delta.reasoning_content)
        if delta.refusal:
            self._refused.add(index)
            progress.add(delta.refusal)
        for call in delta.tool_calls or ():
            if call.function is not None:
                progress.add((call.function.name or "") + (call.function.arguments or ""))


def _said(delta: _Delta) -> Iterator[Piece]:
    if delta.reasoning_content:
        yield ThinkingPiece(delta.reasoning_content)
    if delta.content:
        yield TextPiece(delta.content)
    if delta.refusal:
        yield RefusalPiece(delta.refusal)


class OpenAIStreamWriter:
    """Writes `chat.completion.chunk`s, each whole; the end of the stream is its reader's to mark."""

    def __init__(self, model: str, created: int) -> None:
        self._model = model
        self._created = created
        self._head = b""
        self._calls = -1

    def write(self, piece: Piece) -> Iterator[tuple[Mark, bytes]]:
        """The events that say `piece`. Of thoughts it tells the text, as servers of this protocol do that show any."""
        match piece:
            case Began(id=foreign_id):
                head = {
                    "id": completion_id(foreign_id),
                    "object": "chat.completion.chunk",
                    "created": self._created,
                    "model": self._model,
                }
                self._head = msgspec.json.encode(head)[:-1]
                yield Mark.PLAIN, self._chunk({"role": "assistant", "content": "", "refusal": None})
            case TextPiece(text=text):
                yield Mark.PLAIN, self._chunk({"content": text})
            case RefusalPiece(text=text):
                yield Mark.PLAIN, self._chunk({"refusal": text})
            case CallBegan(id=call_id, name=name):
                self._calls += 1
                function = {"name": name, "arguments": ""}
                call: dict[str, Any] = {"index": self._calls, "id": call_id, "type": "function", "function": function}
                yield Mark.PLAIN, self._chunk({"tool_calls": [call]})
            case CallPiece(arguments=arguments):
                more = {"index": self._calls, "function": {"arguments": arguments}}
                yield Mark.PLAIN, self._chunk({"tool_calls": [more]})
            case Ended(finish_reason=reason, usage=usage):
                yield Mark.FINISHES, self._chunk({}, written_reason(reason))
                if usage is not None:
                    written = msgspec.json.encode(written_usage(usage))
                    yield Mark.USAGE_ONLY, self._head + b',"choices":[],"usage":' + written + b"}"
            case ThinkingPiece(text=text) if text:
                yield Mark.PLAIN, self._chunk({"reasoning_content": text})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head + b',"choices":[' + msgspec.json.encode(choice) + b"]}"
