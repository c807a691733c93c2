"""What callers want embedded, over HTTP or gRPC, as what the pipeline understands: the two share their vectors."""

from collections.abc import Mapping
from typing import Any

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import InvalidRequest
from asahi_edge.api.json import convert, encode
from asahi_edge.api.questions import limit_time, native_question
from asahi_edge.api.routing import AUTOPILOT_MODELS, VIRTUAL_MODELS
from asahi_edge.api.schemas.embeddings import MOST_INPUTS, EmbeddingsBody
from asahi_edge.domain.access import require_organization
from asahi_edge.domain.inference import InferenceRequest

DEFAULT_MODEL = "all-MiniLM-L6-v2"
"""Named here and not chosen anew each time: vectors of two models cannot be compared."""
_OURS = frozenset({"input", "encoding_format", "stream"})
"""Fields that a model is told in one way, whatever was asked for."""
_FORMATS = ("float", "base64")


def embeddings_question(verdict: Verdict, decoded: dict[str, Any], headers: Mapping[str, str]) -> InferenceRequest:
    """The question in a body of OpenAI's, asked for base64. Limits the time of the call.

    Raises:
        InvalidRequest: it is none.
        OrganizationMismatch: it names another organisation than the key's.
    """
    asked = convert(decoded, EmbeddingsBody)
    require_organization(verdict, asked.organization_id)
    if asked.encoding_format is not None and asked.encoding_format not in _FORMATS:
        message = f"'encoding_format' is {asked.encoding_format[:40]!r}; it is one of {', '.join(_FORMATS)}."
        raise InvalidRequest(message, param="encoding_format")
    if decoded.get("stream"):
        raise InvalidRequest("'stream' is true; embeddings come in one piece.", param="stream")
    shared = {name: value for name, value in decoded.items() if name not in _OURS}
    shared["model"] = _model(asked.model)
    body = encode({**shared, "input": _inputs(asked.input)})
    question = native_question(verdict, Api.API_OPENAI_EMBEDDINGS, body, shared, headers)
    limit_time(question.routing)
    return question


def _model(name: str | None) -> str:
    if name is None or name in AUTOPILOT_MODELS:
        return DEFAULT_MODEL
    if name in VIRTUAL_MODELS:
        message = f"'model' is {name!r}; embeddings know no quality: name a model, or 'asahi' for {DEFAULT_MODEL}."
        raise InvalidRequest(message, param="model")
    return name


def _inputs(sent: str | list[Any]) -> list[str | list[int]]:
    """What is to be embedded, one by one."""
    if isinstance(sent, str):
        inputs: list[Any] = [sent]
    elif sent and all(isinstance(one, int) for one in sent):
        inputs = [sent]
    else:
        inputs = sent
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise InvalidRequest(f"'input' has {len(inputs)} entries; it has 1 to {MOST_INPUTS}.", param="input")
    for index, one in enumerate(inputs):
        if isinstance(one, int):
            message = f"'input[{index}]' is the number of a token; a text in tokens is a list of them."
            raise InvalidRequest(message, param="input")
        if not one:
            raise InvalidRequest(f"'input[{index}]' is empty; there is nothing to embed.", param="input")
    return inputs
