"""OpenAI's embeddings: vectors that look like noise, the same for the same model, text and `dimensions`."""

import hashlib
import math
import struct
from base64 import b64encode
from typing import Any

import msgspec

from asahi_simulator.api.dialect import Failure, Reply, WrongBody, read_json
from asahi_simulator.api.openai import OpenAI
from asahi_simulator.domain.completion import CompletionRequest, Prompt, ToEmbed
from asahi_simulator.domain.prompt_cache import CacheUse, PromptCache
from asahi_simulator.domain.tokens import split

_DIMENSIONS = {"text-embedding-3-large": 3072}
_USUAL_DIMENSIONS = 1536
_SHORTER = "text-embedding-3"
_MOST_INPUTS = 2048
_MOST_TOKENS = 8192


class _Body(msgspec.Struct):
    input: str | list[str | list[int] | int]
    model: str
    dimensions: int | None = None
    encoding_format: str = "float"


_bodies = msgspec.json.Decoder(_Body)


class Embeddings(OpenAI):
    """The `Dialect` of `POST /v1/embeddings`."""

    def read(self, body: bytes) -> CompletionRequest:
        """The request in `body`; raises WrongBody."""
        asked = read_json(body, _bodies)
        inputs = _inputs(asked.input)
        most = _DIMENSIONS.get(asked.model, _USUAL_DIMENSIONS)
        if asked.dimensions is not None and not asked.model.startswith(_SHORTER):
            raise _wrong("This model does not support specifying dimensions.", "dimensions")
        if asked.dimensions is not None and not 1 <= asked.dimensions <= most:
            raise _wrong(f"Invalid value for 'dimensions': must be 1 to {most}.", "dimensions")
        if asked.encoding_format not in ("float", "base64"):
            raise _wrong("Invalid value for 'encoding_format': must be 'float' or 'base64'.", "encoding_format")
        pieces = [split(one) if isinstance(one, str) else list(map(str, one)) for one in inputs]
        for one in pieces:
            if len(one) > _MOST_TOKENS:
                message = f"This model's maximum input length is {_MOST_TOKENS} tokens, but you sent {len(one)}."
                raise _wrong(message, "input")
        last = inputs[-1]
        return CompletionRequest(
            model=asked.model,
            prompt=Prompt([piece for one in pieces for piece in one], last if isinstance(last, str) else ""),
            to_embed=ToEmbed(
                tuple(one if isinstance(one, str) else " ".join(map(str, one)) for one in inputs),
                asked.dimensions or most,
                as_base64=asked.encoding_format == "base64",
            ),
        )

    def cache_use(self, cache: PromptCache, request: CompletionRequest) -> CacheUse:
        """None: there is no prompt cache of embeddings."""
        return CacheUse()

    def plain(self, reply: Reply) -> bytes:
        """A list of vectors."""
        asked = reply.request.to_embed
        vectors = (
            [] if asked is None else [_vector(reply.request.model, text, asked.dimensions) for text in asked.texts]
        )
        written = [
            b64encode(packed).decode() if asked is not None and asked.as_base64 else _numbers(packed)
            for packed in vectors
        ]
        body: dict[str, Any] = {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(written)],
            "model": reply.request.model,
        }
        if reply.usage is not None:
            tokens = reply.usage.prompt_tokens
            body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode(body)


def _inputs(sent: str | list[str | list[int] | int]) -> list[str | list[int]]:
    if isinstance(sent, str):
        inputs: list[str | list[int]] = [sent]
    elif sent and all(isinstance(one, int) for one in sent):
        inputs = [[one for one in sent if isinstance(one, int)]]
    else:
        inputs = [one for one in sent if not isinstance(one, int)]
    if len(inputs) > _MOST_INPUTS:
        raise _wrong(f"'$.input' is invalid: it has more than {_MOST_INPUTS} entries.", "input")
    if not inputs or not all(inputs):
        raise _wrong("'$.input' is invalid. Please check the API reference.", "input")
    return inputs


def _wrong(message: str, param: str) -> WrongBody:
    return WrongBody(Failure(400, message, None, None, param))


def _vector(model: str, text: str, dimensions: int) -> bytes:
    """Of length 1, as binary32, little endian."""
    noise = hashlib.shake_256(f"{model}\0{text}".encode()).digest(2 * dimensions)
    numbers = [one + 0.5 for one in struct.unpack(f"<{dimensions}h", noise)]
    length = math.sqrt(math.fsum(one * one for one in numbers))
    return struct.pack(f"<{dimensions}f", *(one / length for one in numbers))


def _numbers(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))
