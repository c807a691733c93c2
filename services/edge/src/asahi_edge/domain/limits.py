"""Limits over any 60 consecutive seconds: which apply to a request, what it asks of them, and what is said of them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.policy_pb2 import RateLimits
from asahi_core.errors import RateLimitExceeded
from asahi_edge.domain.inference import InferenceRequest

WINDOW_S = 60
Unit = Literal["requests", "tokens"]
_USUAL_OUTPUT_TOKENS = 500
"""What an answer is expected to need where the caller sets no limit."""
_TOKENS_OF_A_PART = 1000
"""What an image or a file is expected to need."""
_BYTES_A_TOKEN = 4
_INLINED = re.compile(rb'"data:[^"]{0,200};base64,[^"]*"|"[A-Za-z0-9+/\\]{2000,}={0,2}"')
"""What OpenAI's protocol inlines as data URLs, Anthropic's as bare base64."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit that applies to a request."""

    unit: Unit
    scope: str
    """Whose it is, as an error names it: `organization`, `key`, `end user`, `end user of the key`."""
    window: str
    """Names what is counted together, within the organisation."""
    per_minute: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks of all its limits together."""

    organization_id: str
    limits: tuple[Limit, ...]
    tokens: int
    """The estimate; settled when the request has ended."""

    def amount(self, limit: Limit) -> int:
        """What is reserved of `limit`; an estimate above the whole of it counts as the whole, or it never fitted."""
        return 1 if limit.unit == "requests" else min(self.tokens, limit.per_minute)


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a limit is used."""

    limit: Limit
    used: int
    reset_s: float
    """Seconds until all of it is free again if nothing else comes."""

    @property
    def remaining(self) -> int:
        """What is left; settled estimates may have gone beyond the limit."""
        return max(0, self.limit.per_minute - self.used)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is admitted. A refused one has used nothing of any limit."""

    standings: tuple[Standing, ...]
    """Every limit asked, after the decision."""
    settle: Callable[[int], None]
    """Replaces the estimate by the tokens really used. Never waits, never fails."""
    refused_by: Limit | None = None
    """The limit that will be in the way for longest."""
    retry_after_s: float = 0.0
    """When that one will admit the same demand if nothing else comes."""
    degraded: bool = False
    """Whether it was decided by this process alone though limits should be shared."""


class Limiter(Protocol):
    """Counts what was admitted in windows of 60 one-second buckets."""

    async def admit(self, demand: Demand) -> Decision:
        """Decides over all limits of `demand` at once."""
        ...


def settles_nothing(_tokens: int) -> None:
    """For a decision that reserved nothing."""


def limits_of(verdict: Verdict, user_id: str) -> tuple[Limit, ...]:
    """The limits that apply to a request of this key for this end user (empty: nobody in particular)."""
    found: list[Limit] = []
    if verdict.policy.HasField("rate_limits"):
        limits = verdict.policy.rate_limits
        found += _of("organization", "o", limits)
        if user_id and limits.HasField("per_user"):
            found += _of("end user", f"o:u:{user_id}", limits.per_user)
    if verdict.HasField("rate_limits"):
        limits, key = verdict.rate_limits, f"k:{verdict.principal_id or verdict.api_key_id}"
        found += _of("key", key, limits)
        if user_id and limits.HasField("per_user"):
            found += _of("end user of the key", f"{key}:u:{user_id}", limits.per_user)
    return tuple(found)


def estimated_tokens(request: InferenceRequest) -> int:
    """About what a provider would count: a token for four bytes of the prompt, and the longest answer allowed."""
    prompt = request.prompt
    if request.workflow is not None:
        steps = len(request.workflow.steps)
        return request.workflow.known_characters // _BYTES_A_TOKEN + steps * _USUAL_OUTPUT_TOKENS
    if prompt.HasField("native"):
        body = prompt.native.body
        inlined = 0
        if b"base64" in body:
            body, inlined = _INLINED.subn(b'""', body)
        written = 0 if prompt.native.api == Api.API_OPENAI_EMBEDDINGS else _output_limit(body)
        return len(body) // _BYTES_A_TOKEN + inlined * _TOKENS_OF_A_PART + written
    chat = prompt.chat
    size, others = 0, 0
    for message in chat.messages:
        for part in message.parts:
            size += len(part.text)
            others += not part.text
    return size // _BYTES_A_TOKEN + others * _TOKENS_OF_A_PART + (chat.max_output_tokens or _USUAL_OUTPUT_TOKENS)


def refusal(limit: Limit, retry_after_s: float) -> RateLimitExceeded:
    """The error that a request is answered with which `limit` refused."""
    message = (
        f"The rate limit is reached: {limit.unit}_per_minute of the {limit.scope} is {limit.per_minute}. "
        f"Send the request again in {retry_after_s:.1f} s."
    )
    return RateLimitExceeded(message, retry_after_s=retry_after_s)


def _of(scope: str, window: str, limits: RateLimits) -> Iterator[Limit]:
    if limits.HasField("requests_per_minute"):
        yield Limit("requests", scope, f"{window}:r", limits.requests_per_minute)
    if limits.HasField("tokens_per_minute"):
        yield Limit("tokens", scope, f"{window}:t", limits.tokens_per_minute)


class _OutputLimit(msgspec.Struct):
    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None


def _output_limit(body: bytes) -> int:
    try:
        asked = msgspec.json.decode(body, type=_OutputLimit)
    except msgspec.DecodeError:
        return _USUAL_OUTPUT_TOKENS
    for limit in (asked.max_completion_tokens, asked.max_output_tokens, asked.max_tokens):
        if isinstance(limit, int) and limit > 0:
            return limit
    return _USUAL_OUTPUT_TOKENS
