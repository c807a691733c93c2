"""Streamed answers in Anthropic's protocol, read and written."""

from collections.abc import Iterator
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import FinishReason
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_router.domain.provider import FailureKind, ProviderFailure
from asahi_router.providers.anthropic.answer import (
    NO_ARGUMENTS,
    UsageBody,
    finish_reason,
    message_id,
    usage_of,
    written_reason,
    written_usage,
)
from asahi_router.providers.anthropic.assembly import assemble
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
from asahi_router.providers.progress import Progress


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    data: str = ""
    thinking: str = ""
    input: msgspec.Raw = NO_ARGUMENTS


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    id: str = ""
    usage: UsageBody | Junk = None


class _Event(msgspec.Struct):
    type: str
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: UsageBody | Junk = None


_NOTHING = (b"{}", b"null")
_event = msgspec.json.Decoder(_Event)
_NAMES = tuple(name for name in UsageBody.__struct_fields__)


class AnthropicStreamReader:
    """Reads the events from `message_start` to `message_stop`."""

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self._last: _Event | None = None
        self._reason: FinishReason.ValueType = FinishReason.FINISH_REASON_UNSPECIFIED
        self._told = UsageBody()
        self._usage: Usage | None = None
        self._blocks = 0
        self._input = b""
        """Arguments that a tool call began with, unless pieces of them come."""
        self._progress: Progress | None = None

    def read(self, event: bytes, progress: Progress) -> Mark:
        """Takes the event in; raises ProviderFailure if it is an error, or cannot be understood."""
        try:
            told = _event.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = FailureKind.INTERRUPTED if progress.pieces else FailureKind.FAILED
            raise progress.failure(kind, "its answer is not what its protocol says") from error
        self._last = told
        self._progress = progress
        self._events.append(event)
        match told.type:
            case "content_block_delta" if told.delta is not None:
                text = told.delta.text or told.delta.partial_json or told.delta.thinking
                if text:
                    progress.add(text)
            case "content_block_start":
                self._blocks += 1
                if told.content_block is not None and told.content_block.name:
                    progress.add(told.content_block.name)
            case "message_start" if told.message is not None:
                self._count(told.message.usage, progress, final=False)
            case "message_delta":
                if told.delta is not None:
                    self._reason = finish_reason(told.delta.stop_reason)
                self._count(told.usage, progress, final=True)
            case "message_stop":
                if not self._blocks and self._reason != FinishReason.FINISH_REASON_CONTENT_FILTER:
                    raise progress.failure(FailureKind.FAILED, "its answer is empty")
                return Mark.LAST
            case "error":
                raise failure_from_event(event, progress.received(), begun=progress.pieces > 0)
        return Mark.PLAIN

    def pieces(self) -> Iterator[Piece]:
        """The event that was read last, in the intermediate form."""
        event = self._last
        if event is None:
            return
        match event.type:
            case "message_start" if event.message is not None:
                yield Began(event.message.id, self._usage)
            case "content_block_start" if event.content_block is not None:
                yield from self._block_pieces(event.content_block)
            case "content_block_delta" if event.delta is not None:
                delta = event.delta
                if delta.text:
                    yield TextPiece(delta.text)
                elif delta.partial_json:
                    self._input = b""
                    yield CallPiece(delta.partial_json)
                elif delta.thinking or delta.signature:
                    yield ThinkingPiece(delta.thinking, delta.signature)
            case "content_block_stop" if self._input:
                yield CallPiece(self._input.decode())
                self._input = b""
            case "message_stop":
                yield Ended(self._reason, self._usage)

    def body(self) -> bytes:
        """The body of the plain answer that all events together are."""
        return assemble(self._events)

    def _block_pieces(self, block: _Block) -> Iterator[Piece]:
        match block.type:
            case "tool_use":
                self._input = b"" if bytes(block.input) in _NOTHING else bytes(block.input)
                yield CallBegan(block.id, block.name)
            case "redacted_thinking":
                yield ThinkingPiece(redacted=block.data)
            case "thinking":
                if block.thinking:
                    yield ThinkingPiece(block.thinking)
            case "text":
                if block.text:
                    yield TextPiece(block.text)
            case kind:
                words = f"its answer has a part of the type {kind[:40]}, which cannot be translated"
                received = self._progress.received() if self._progress is not None else None
                raise ProviderFailure(FailureKind.INTERRUPTED, words, received=received)

    def _count(self, told: UsageBody | Junk, progress: Progress, *, final: bool) -> None:
        """Figures are cumulative: what is told last holds."""
        if told is None:
            return
        if not isinstance(told, UsageBody):
            self._told = UsageBody()
            self._usage = progress.usage = None
            return
        for name in _NAMES:
            value = getattr(told, name)
            if value is not None:
                setattr(self._told, name, value)
        usage = usage_of(self._told)
        if usage is not None and not final:
            usage.source = UsageSource.USAGE_SOURCE_UNSPECIFIED
        self._usage = progress.usage = usage


class AnthropicStreamWriter:
    """Writes the events from `message_start` to `message_stop`. Refusals are text here; `stop_reason` tells them."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._index = -1
        self._open = ""

    def write(self, piece: Piece) -> Iterator[tuple[Mark, bytes]]:
        """The events that say `piece`."""
        for event in self._events(piece):
            yield Mark.PLAIN, msgspec.json.encode(event)

    def _events(self, piece: Piece) -> Iterator[dict[str, Any]]:
        match piece:
            case Began(id=foreign_id, usage=usage):
                yield {"type": "message_start", "message": self._message(foreign_id, usage or Usage())}
                yield {"type": "ping"}
            case TextPiece(text=text) | RefusalPiece(text=text):
                yield from self._enter("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case ThinkingPiece(redacted=redacted) if redacted:
                yield from self._leave()
                yield from self._enter("redacted", {"type": "redacted_thinking", "data": redacted})
                yield from self._leave()
            case ThinkingPiece(text=text, signature=signature):
                yield from self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                if text:
                    yield self._delta({"type": "thinking_delta", "thinking": text})
                if signature:
                    yield self._delta({"type": "signature_delta", "signature": signature})
                    yield from self._leave()
            case CallBegan(id=call_id, name=name):
                yield from self._leave()
                yield from self._enter("call", {"type": "tool_use", "id": call_id, "name": name, "input": {}})
            case CallPiece(arguments=arguments):
                yield self._delta({"type": "input_json_delta", "partial_json": arguments})
            case Ended(finish_reason=reason, usage=usage):
                yield from self._leave()
                delta = {"stop_reason": written_reason(reason), "stop_sequence": None}
                told = {"usage": written_usage(usage)} if usage is not None else {}
                yield {"type": "message_delta", "delta": delta, **told}
                yield {"type": "message_stop"}

    def _enter(self, kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._open == kind:
            return
        yield from self._leave()
        self._index += 1
        self._open = kind
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _leave(self) -> Iterator[dict[str, Any]]:
        if self._open:
            self._open = ""
            yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _message(self, foreign_id: str, usage: Usage) -> dict[str, Any]:
        return {
            "id": message_id(foreign_id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": written_usage(usage),
        }
