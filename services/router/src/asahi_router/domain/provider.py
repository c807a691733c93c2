"""What the router needs of a provider: one call, its events, and why it may fail. Clients stand behind it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from asahi.type.v1.chat_pb2 import Answer, AnswerDelta, Prompt
from asahi.type.v1.usage_pb2 import Usage


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One call to a provider."""

    request_id: str
    attempt: int
    model: str
    """Catalog id; `Answer.model` of the answer."""
    provider_model: str
    """The model's name as this provider writes it."""
    prompt: Prompt
    stream: bool
    """Whether deltas are wanted. The whole answer comes last in any case."""
    max_output_tokens: int | None = None
    """Most tokens of all its answers; None: no bound is known. No estimate is over it."""
    keeps_prompt: bool = False
    """Whether the provider is asked to keep all of the prompt for the next turn, where that must be asked for."""


class FailureKind(StrEnum):
    """Why a call failed, as far as it decides what to do next."""

    REFUSED = "refused"
    """The provider will not take this request from anybody (400, 404, 413, 422): another provider might."""
    UNAUTHORIZED = "unauthorized"
    """The provider does not accept the operator's key (401, 403)."""
    RATE_LIMITED = "rate_limited"
    """Too many requests (429), see `retry_after_s`."""
    OVERLOADED = "overloaded"
    """The provider is saturated (503, 529)."""
    FAILED = "failed"
    """The provider broke (other 5xx), or answered what cannot be understood."""
    UNREACHABLE = "unreachable"
    """No connection."""
    TIMED_OUT = "timed_out"
    """The try's time ran out before the first byte."""
    INTERRUPTED = "interrupted"
    """The answer began and did not end."""


@dataclass(frozen=True, slots=True)
class Received:
    """What had come of an answer when its call ended early; the basis of an estimate."""

    text_bytes: int = 0
    """UTF-8 bytes of text, tool arguments and thoughts."""
    pieces: int = 0
    """Deltas with content."""
    usage: Usage | None = None
    """What the provider reported so far; its `source` is `PROVIDER` once it is final. None: nothing."""
    sent_after_ms: float | None = 0.0
    """Milliseconds from the start until the question was on its way; None: it never was, so nothing is billed."""


class ProviderFailure(Exception):
    """A provider call that brought no whole answer."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        param: str | None = None,
        received: Received | None = None,
    ) -> None:
        """`message` may be shown to callers: the provider's own words without keys; `received`: None: nothing."""
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after_s = retry_after_s
        self.param = param
        self.received = received


class Provider(Protocol):
    """A configured provider."""

    @property
    def id(self) -> str:
        """`openai`, `anthropic`, `simulator`, or the operator's own name for it."""
        ...

    def call(self, call: ProviderCall) -> AsyncGenerator[AnswerDelta | Answer, None]:
        """Deltas where asked for, then the whole answer, with usage. Closing the generator ends the call at once.

        The answer's form is that of the prompt: `chat` for `chat`, else a body in the protocol of the question,
        translated where this provider speaks another. `usage.source` is unspecified where the provider reported none.

        Raises:
            ProviderFailure: there is no whole answer.
            UnsupportedByModel: the question has a field that this provider's protocol cannot carry.
        """
        ...

    def received(self, call: ProviderCall) -> Received:
        """What has come so far of a call under way; for calls that are given up."""
        ...

    async def close(self) -> None:
        """Ends all connections."""
        ...
