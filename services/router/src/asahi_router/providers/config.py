"""What a provider's client is told."""

from dataclasses import dataclass, field
from enum import StrEnum


class ProviderProtocol(StrEnum):
    """What a provider speaks."""

    OPENAI = "openai"
    """OpenAI's chat completions; also vLLM, Ollama and many others."""
    ANTHROPIC = "anthropic"
    """Anthropic's messages."""


@dataclass(frozen=True, slots=True)
class ProviderTimeouts:
    """Seconds. How long a try may take at all is the completion's to say; these only end what is dead."""

    connect_s: float = 5.0
    silence_s: float = 120.0
    """Longest silence of a stream, before its first byte as well."""
    whole_s: float = 600.0
    """Longest time of any answer."""


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """A provider."""

    id: str
    """`openai`, `anthropic`, `simulator`, or the operator's own name for it."""
    protocol: ProviderProtocol
    base_url: str
    """With OpenAI's protocol it ends in `/v1` as a rule, as `OPENAI_BASE_URL` does; with Anthropic's it does not."""
    responses: bool = False
    """Whether it speaks OpenAI's responses beside its protocol."""
    label_calls: bool = False
    """Whether calls carry request id and attempt (the simulator shows them); never sent to others."""
    default_max_tokens: int = 4096
    """Most tokens of an answer where neither the caller nor the protocol says (Anthropic's must)."""
    max_answer_bytes: int = 32 * 1024 * 1024
    connections: int = 1000
    timeouts: ProviderTimeouts = field(default_factory=ProviderTimeouts)
