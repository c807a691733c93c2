"""Plain answers in the form of OpenAI's responses: what the stream of the same answer ends with."""

from collections.abc import Iterator

import msgspec

from asahi.type.v1.chat_pb2 import ContentPart
from asahi_router.providers.dialect import (
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Translated,
)
from asahi_router.providers.responses.stream import ResponseStreamWriter


def write_answer(answer: Translated) -> bytes:
    """A `response`."""
    writer = ResponseStreamWriter(answer.model, answer.created)
    for piece in _pieces(answer):
        for _ in writer.write(piece):
            pass
    return msgspec.json.encode(writer.response)


def _pieces(answer: Translated) -> Iterator[Piece]:
    yield Began(answer.id, None)
    for part in answer.chat.parts:
        yield from _said(part)
    yield Ended(answer.summary.finish_reason, answer.summary.usage)


def _said(part: ContentPart) -> Iterator[Piece]:
    match part.WhichOneof("part"):
        case "text":
            yield TextPiece(part.text)
        case "refusal":
            yield RefusalPiece(part.refusal)
        case "thinking":
            yield ThinkingPiece(part.thinking.text, part.thinking.signature, part.thinking.redacted)
        case "tool_call":
            yield CallBegan(part.tool_call.id, part.tool_call.name)
            yield CallPiece(part.tool_call.arguments_json)
