"""Bodies of `/v1/embeddings`: several inputs in one question, several vectors in one answer, each kept by itself."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import Answer, Api, NativeBody
from asahi_edge.domain.inference import InferenceRequest

Item = TypeVar("Item")
_AT_ONCE = 64
"""Inputs that are looked up or kept at the same time."""
_canonical = msgspec.json.Encoder(order="deterministic")


class _Question(msgspec.Struct):
    input: list[msgspec.Raw]


class _Datum(msgspec.Struct):
    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    data: list[_Datum]


_questions = msgspec.json.Decoder(_Question)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_answers = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Input:
    """One text, or the numbers of its tokens."""

    written: bytes
    """As JSON."""
    fingerprint: bytes
    """Under which its vector is kept."""


def inputs_of(request: InferenceRequest) -> list[Input]:
    """The inputs of a question whose fingerprint covers everything but them. The edge has written its body."""
    body: bytes = request.prompt.native.body
    return [
        Input(bytes(raw), hashlib.sha256(request.fingerprint + bytes(raw)).digest())
        for raw in _questions.decode(body).input
    ]


def question_of(request: InferenceRequest, inputs: Sequence[Input]) -> bytes:
    """The same question about these inputs alone."""
    fields = _fields.decode(request.prompt.native.body)
    fields["input"] = msgspec.Raw(b"[" + b",".join(one.written for one in inputs) + b"]")
    return msgspec.json.encode(fields)


def vectors_of(answer: Answer) -> list[bytes]:
    """The vectors of an answer as JSON texts of base64, in the order of its inputs."""
    return [bytes(datum.embedding) for datum in _answers.decode(answer.native.body).data]


def written_answer(model: str, vectors: Sequence[bytes], tokens: int) -> NativeBody:
    """An answer in OpenAI's form."""
    told: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": msgspec.Raw(vector)}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return NativeBody(api=Api.API_OPENAI_EMBEDDINGS, body=msgspec.json.encode(told))


def tokens_of_inputs(inputs: Sequence[Input], tokens: int) -> list[int]:
    """What each input has of the tokens that a provider counted for all of them: by length, and exact in sum."""
    lengths = [len(one.written) for one in inputs]
    whole, told, shares, length = sum(lengths), 0, [], 0
    for one in lengths:
        length += one
        share = tokens * length // whole - told
        told += share
        shares.append(share)
    return shares


def split_answer(entry: CacheEntry, request: InferenceRequest) -> list[CacheEntry]:
    """An entry for each input of the question that `entry` answers."""
    answer = entry.answer
    shares = tokens_of_inputs(inputs_of(request), answer.usage.input_tokens)
    parts = []
    for vector, tokens in zip(vectors_of(answer), shares, strict=True):
        part = CacheEntry()
        part.CopyFrom(entry)
        part.answer.usage.input_tokens = tokens
        part.answer.native.CopyFrom(written_answer(answer.model, [vector], tokens))
        parts.append(part)
    return parts


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in their order, as many at a time as the cache is asked for."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
