"""OpenAI's embeddings: a question for a provider, and its answer in one form, whatever form the provider chose.

Vectors travel as base64 of IEEE 754 binary32, little endian, as OpenAI writes them where asked to: a third of the size
of numbers in JSON, and exact.
"""

import struct
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Sequence
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import Answer, FinishReason, NativeBody
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_router.domain.embedding import EMBEDDINGS
from asahi_router.domain.provider import ProviderCall
from asahi_router.providers.fields import OURS
from asahi_router.providers.raw_json import raw, read_object

PATH = "/embeddings"


class _Datum(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Body(msgspec.Struct):
    data: list[_Datum]
    usage: _Usage | None = None


_bodies = msgspec.json.Decoder(_Body)


def adapt(body: bytes, model: str) -> bytes:
    """The question for `model`, asked for base64; all else as it was written."""
    fields = read_object(body)
    fields.pop(OURS, None)
    fields["model"], fields["encoding_format"] = raw(model), raw("base64")
    return bytes(raw(fields))


def read_answer(body: bytes, count: int) -> tuple[list[bytes], int | None]:
    """The vectors of `count` inputs in their order, and the tokens of all of them (None: not reported).

    Raises:
        ValueError: it is no such answer.
    """
    read = _bodies.decode(body)
    by_index = {datum.index: datum for datum in read.data}
    if len(read.data) != count or by_index.keys() != set(range(count)):
        raise ValueError(f"its answer has {len(read.data)} vectors for {count} inputs")
    vectors = [_vector(by_index[index].embedding) for index in range(count)]
    return vectors, None if read.usage is None else read.usage.prompt_tokens


def answer(call: ProviderCall, provider: str, vectors: Sequence[bytes], tokens: int | None) -> Answer:
    """The whole answer of `provider`; `tokens`: None: it reported none."""
    told: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": b64encode(vector).decode()}
            for index, vector in enumerate(vectors)
        ],
        "model": call.model,
    }
    written = Answer(model=call.model, provider=provider, finish_reason=FinishReason.FINISH_REASON_STOP)
    if tokens is not None:
        told["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        written.usage.CopyFrom(Usage(input_tokens=tokens, source=UsageSource.USAGE_SOURCE_PROVIDER))
    written.native.CopyFrom(NativeBody(api=EMBEDDINGS, body=msgspec.json.encode(told)))
    return written


def _vector(written: str | list[float]) -> bytes:
    if isinstance(written, list):
        try:
            return struct.pack(f"<{len(written)}f", *written)
        except (OverflowError, struct.error) as error:
            raise ValueError("its answer has a number that is none of 32 bits") from error
    try:
        vector = b64decode(written, validate=True)
    except NoBase64 as error:
        raise ValueError("its answer has a vector that is no base64") from error
    if not vector or len(vector) % 4:
        raise ValueError(f"its answer has a vector of {len(vector)} bytes, which is no number of floats")
    return vector
