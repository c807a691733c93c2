"""Answers of `/v1/embeddings` in OpenAI's form, with `asahi` added."""

import struct
from base64 import b64decode

import msgspec

from asahi_edge.api.answers import asahi_object
from asahi_edge.api.json import encode
from asahi_edge.domain.inference import InferenceRequest, InferenceResult

_top_level = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Datum(msgspec.Struct):
    object: str
    index: int
    embedding: str


_data = msgspec.json.Decoder(list[_Datum])


def packed_vectors(result: InferenceResult) -> list[bytes]:
    """The vectors: binary32, little endian."""
    data = _data.decode(_top_level.decode(result.answer.native.body)["data"])
    return [b64decode(datum.embedding) for datum in data]


def embeddings_answer(request: InferenceRequest, result: InferenceResult, *, as_numbers: bool) -> bytes:
    """The vectors, in base64 or as lists of numbers: these one by one, so that a thread that writes them gives way."""
    body = _top_level.decode(result.answer.native.body)
    if as_numbers:
        told = [
            {"object": datum.object, "index": datum.index, "embedding": _as_numbers(b64decode(datum.embedding))}
            for datum in _data.decode(body["data"])
        ]
        body["data"] = msgspec.Raw(encode(told))
    body["asahi"] = msgspec.Raw(encode(asahi_object(request, result)))
    return msgspec.json.encode(body)


def _as_numbers(packed: bytes) -> msgspec.Raw:
    return msgspec.Raw(encode(struct.unpack(f"<{len(packed) // 4}f", packed)))
