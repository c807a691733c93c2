"""Estimates of tokens where no provider counted them: before a call, and when an answer broke off.

What a model's completed calls say is learned as ratios of sums, so that estimates are right in sum rather than call by
call. Old calls are forgotten slowly. A provider that sends one token a piece makes `pieces` exact; where pieces are
less steady than bytes, bytes are used. What a model thinks is billed and seldom shown: it is estimated by the time
until the first piece; so is, by the model's pace, all of a plain answer that has not come yet.
"""

import re
from dataclasses import dataclass, field

from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Prompt
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.prices.book import prompt_tokens
from asahi_router.domain.pace import Pace
from asahi_router.domain.provider import ProviderCall, Received

BYTES_PER_TOKEN = 4.0
_KEPT = 0.99
_PRIOR_TOKENS = 1.0
_MESSAGE_BYTES = 16
_IMAGE_BYTES = 3_000
_BASE64 = re.compile(rb'(?<=[",])[A-Za-z0-9+/\\]{2000,}={0,2}(?=")')


def prompt_bytes(prompt: Prompt) -> int:
    """UTF-8 bytes of what is asked, framing included, each image at a flat rate."""
    if prompt.HasField("native"):
        body = prompt.native.body
        images = _BASE64.findall(body) if b"base64" in body else ()
        return len(body) - sum(map(len, images)) + _IMAGE_BYTES * len(images)
    return _chat_bytes(prompt.chat)


@dataclass(slots=True)
class _Ratio:
    """Tokens per unit over past calls, and how steady it is."""

    tokens: float
    units: float
    error: float
    """Mean square of the relative error."""

    @classmethod
    def expected(cls, units_a_token: float) -> "_Ratio":
        """As if one token had been seen."""
        return cls(_PRIOR_TOKENS, _PRIOR_TOKENS * units_a_token, 0.1)

    def tokens_in(self, units: float) -> float:
        return units * self.tokens / self.units

    def learn(self, tokens: int, units: float) -> None:
        if tokens <= 0 or units <= 0:
            return
        error = self.tokens_in(units) / tokens - 1
        self.error = _KEPT * self.error + (1 - _KEPT) * error * error
        self.tokens = _KEPT * self.tokens + tokens
        self.units = _KEPT * self.units + units


@dataclass(slots=True)
class _Thought:
    """Tokens of thought by the time until the first piece, over past streams."""

    tokens: float = 0.0
    ms: float = 0.0

    def tokens_in(self, ms: float) -> float:
        return ms * self.tokens / self.ms if self.ms else 0.0

    def learn(self, tokens: int, ms: float) -> None:
        self.tokens = _KEPT * self.tokens + tokens
        self.ms = _KEPT * self.ms + ms


@dataclass(slots=True)
class _Model:
    input: _Ratio = field(default_factory=lambda: _Ratio.expected(BYTES_PER_TOKEN))
    by_bytes: _Ratio = field(default_factory=lambda: _Ratio.expected(BYTES_PER_TOKEN))
    by_pieces: _Ratio = field(default_factory=lambda: _Ratio.expected(1.0))
    thought: _Thought = field(default_factory=_Thought)
    pace: Pace = field(default_factory=Pace)


class TokenEstimator:
    """Estimates tokens by model. As many models as the catalog has."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def expect(self, model: str, first_token_ms: float, output_tokens_per_second: float) -> None:
        """How fast the model is thought to be, until its calls say it."""
        self._model(model).pace.expect(first_token_ms, 1000 / output_tokens_per_second)

    def input_tokens(self, model: str, asked_bytes: int) -> int:
        """Input tokens of a prompt of `asked_bytes` (see `prompt_bytes`) at the model with that catalog id."""
        return max(1, round(self._model(model).input.tokens_in(asked_bytes)))

    def output_tokens(self, model: str, received: Received) -> int:
        """Output tokens of what came of a streamed answer, without thought."""
        known = self._model(model)
        if received.pieces and known.by_pieces.error <= known.by_bytes.error:
            return round(known.by_pieces.tokens_in(received.pieces))
        return round(known.by_bytes.tokens_in(received.text_bytes))

    def usage(self, call: ProviderCall, asked_bytes: int, received: Received, silent_ms: float) -> Usage:
        """What `call`, which ended early, will be billed, with what the provider reported of it taken as it is.

        `silent_ms`: from its question until its first piece, or until it ended where none had come.
        """
        usage = Usage()
        if received.usage is not None:
            usage.CopyFrom(received.usage)
            if usage.source == UsageSource.USAGE_SOURCE_PROVIDER:
                return usage
        if not prompt_tokens(usage):
            usage.input_tokens = self.input_tokens(call.model, asked_bytes)
        known = self._model(call.model)
        thought = 0
        if call.stream:
            thought = round(known.thought.tokens_in(silent_ms))
            output = thought + self.output_tokens(call.model, received)
        elif received.text_bytes:
            output = self.output_tokens(call.model, received)
        else:
            output = max(0, int(known.pace.tokens_in(silent_ms)))  # the one being written is not billed yet
        if call.max_output_tokens is not None:
            output = min(output, call.max_output_tokens)
        usage.output_tokens = max(usage.output_tokens, output)
        usage.reasoning_tokens = min(usage.output_tokens, max(usage.reasoning_tokens, thought))
        usage.source = UsageSource.USAGE_SOURCE_ESTIMATED
        return usage

    def learn(
        self, model: str, asked_bytes: int, usage: Usage, received: Received, *, duration_ms: float, silent_ms: float
    ) -> None:
        """Takes in a call that completed, with the provider's own count.

        `duration_ms`: from its question to its end; `silent_ms` as in `usage`.
        """
        known = self._model(model)
        known.input.learn(prompt_tokens(usage), asked_bytes)
        known.pace.learn(usage.output_tokens, duration_ms)
        if received.pieces:
            known.by_bytes.learn(usage.output_tokens - usage.reasoning_tokens, received.text_bytes)
            known.by_pieces.learn(usage.output_tokens - usage.reasoning_tokens, received.pieces)
            known.thought.learn(usage.reasoning_tokens, silent_ms)

    def _model(self, model: str) -> _Model:
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = _Model()
        return known


def _chat_bytes(chat: ChatRequest) -> int:
    size = len(chat.response_format_json)
    for tool in chat.tools:
        size += len(tool.name) + len(tool.description) + len(tool.parameters_json) + _MESSAGE_BYTES
    for message in chat.messages:
        size += _MESSAGE_BYTES + sum(map(_part_bytes, message.parts))
    return size


def _part_bytes(part: ContentPart) -> int:
    match part.WhichOneof("part"):
        case "image":
            return _IMAGE_BYTES
        case "tool_call":
            return len(part.tool_call.name) + len(part.tool_call.arguments_json.encode())
        case "tool_result":
            return sum(map(_part_bytes, part.tool_result.parts))
        case _:
            return len((part.text or part.refusal or part.thinking.text).encode())
