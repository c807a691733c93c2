"""The values of a completion that both protocols share: what is asked, what is answered, what it counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

CacheTime = Literal["5m", "1h"]
Ending = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
ToolUse = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """The caller wants the first `position` tokens of the prompt cached for `time`."""

    position: int
    time: CacheTime


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in tokens, as it is counted.

    `boundaries` are the positions after each block, where an explicit cache may match. `told` is the text of the last
    message if a user wrote it, else empty.
    """

    pieces: list[str]
    told: str
    boundaries: tuple[int, ...] = ()
    breakpoints: tuple[Breakpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `schema` is the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]
    runs_here: bool = False
    """Whether the provider runs it itself."""


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """Texts of which vectors are wanted, each as it was counted."""

    texts: tuple[str, ...]
    dimensions: int
    as_base64: bool


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What a caller asks for. `max_tokens` bounds reasoning and answer together."""

    model: str
    prompt: Prompt
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    choices: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_use: ToolUse = "auto"
    tool_named: str = ""
    parallel_tools: bool = True
    json_schema: Mapping[str, Any] | None = None
    reasoning_tokens: int = 0
    shows_thoughts: bool = False
    """Whether the text of the reasoning is part of the answer."""
    seed: int = 0
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The whole body, where the answer repeats parts of it."""
    to_embed: ToEmbed | None = None
    """What is embedded in place of an answer being written."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool: one token for its name, the others are the JSON text of its arguments."""

    id: str
    name: str
    pieces: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `pieces` are the tokens of its text; endless ones are an iterator."""

    pieces: Iterable[str] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    ending: Ending = "stop"
    stop_sequence: str | None = None
    reasoning_tokens: int = 0
    thoughts: tuple[str, ...] = ()
    """The tokens of the reasoning, where they are shown."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """All tokens, those of reasoning included."""
        text = len(self.pieces) if isinstance(self.pieces, Sequence) else 0
        return self.reasoning_tokens + text + sum(1 + len(call.pieces) for call in self.tool_calls)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens. `prompt_tokens` are all of the prompt's; read from and written to the cache are parts of them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    def times(self, factor: float) -> "Usage":
        """Every count multiplied by `factor` and rounded down: a provider that counts wrong."""
        return Usage(**{name: int(getattr(self, name) * factor) for name in self.__struct_fields__})
