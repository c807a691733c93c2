"""What a provider's protocol must be able to say; the conversation itself is the same for all (`conversation.py`)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from asahi_simulator.api.exchange import Header
from asahi_simulator.domain.completion import Answer, CompletionRequest, Prompt, Usage
from asahi_simulator.domain.prompt_cache import CacheUse, PromptCache
from asahi_simulator.domain.rules import Api
from asahi_simulator.domain.tokens import split

BodyT = TypeVar("BodyT")
StreamItem = tuple[int, bytes]
"""Whether one token is generated for it, and its bytes on the wire (none: a token that is not shown)."""
THOUGHT = 2
"""In place of True: a token of reasoning that is shown."""

_AT = re.compile(r"(?P<fault>.*) - at `\$\.?(?P<path>[^`]*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_IMAGE_TOKENS = 85


@dataclass(frozen=True, slots=True)
class Reply:
    """All that is known of an answer when its first byte is sent. `usage` is what is reported; None: nothing is."""

    id: str
    created: int
    request: CompletionRequest
    answers: tuple[Answer, ...]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to be told; what is None follows from the status."""

    status: int
    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


class WrongBody(Exception):
    """The body cannot be understood; says why and where."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Dialect(Protocol):
    """One provider's wire protocol."""

    api: Api

    def read(self, body: bytes) -> CompletionRequest:
        """The request in `body`; raises WrongBody."""
        ...

    def cache_use(self, cache: PromptCache, request: CompletionRequest) -> CacheUse:
        """What this provider's kind of prompt cache does with the prompt."""
        ...

    def headers(self, request_id: str) -> list[Header]:
        """Headers of every answer."""
        ...

    def plain(self, reply: Reply) -> bytes:
        """The whole answer."""
        ...

    def stream(self, reply: Reply) -> Iterator[StreamItem]:
        """The answer's events, one at a time; made only as they are asked for."""
        ...

    def garbage(self, reply: Reply) -> bytes:
        """An event that is broken off in its midst."""
        ...

    def error(self, failure: Failure, request_id: str) -> bytes:
        """The body of an error."""
        ...

    def stream_error(self, failure: Failure, request_id: str) -> bytes:
        """The event of an error in the midst of a stream."""
        ...


class PromptBuilder:
    """Puts a prompt together in tokens; equal content makes equal tokens."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._boundaries: list[int] = []

    @property
    def position(self) -> int:
        """Tokens so far."""
        return len(self._pieces)

    def open_message(self, role: str) -> None:
        """Four tokens that frame a message."""
        self._pieces += ("<|", role, "|>", "\n")

    def add_text(self, text: str) -> None:
        """A block of text."""
        self._pieces += split(text)
        self._boundaries.append(self.position)

    def add_media(self, media: Any) -> None:
        """A picture or file, whatever its size: 85 tokens."""
        self._pieces += [msgspec.json.encode(media).decode()] + ["<media>"] * (_IMAGE_TOKENS - 1)
        self._boundaries.append(self.position)

    def add_json(self, value: Any) -> None:
        """A block of anything else, counted as its JSON text."""
        self.add_text(msgspec.json.encode(value).decode())

    def finish(self, told: str) -> Prompt:
        """The prompt; three tokens more lead over to the answer."""
        self._pieces += ("<|", "assistant", "|>")
        return Prompt(self._pieces, told, tuple(self._boundaries))


def read_json(body: bytes, shape: msgspec.json.Decoder[BodyT]) -> BodyT:
    """`body` as `shape`; raises WrongBody with the field that is wrong, `param`."""
    try:
        return shape.decode(body)
    except msgspec.ValidationError as error:
        missing = _MISSING.fullmatch(str(error))
        if missing is not None:
            path = ".".join(name for name in (missing["path"], missing["name"]) if name)
            raise WrongBody(
                Failure(400, f"Missing required parameter: '{path}'.", None, "missing_required_parameter", path)
            ) from error
        found = _AT.fullmatch(str(error))
        fault, path = (found["fault"], found["path"]) if found is not None else (str(error), "")
        message = f"Invalid value for '{path}': {fault}." if path else f"{fault}."
        raise WrongBody(Failure(400, message.replace("`", "'"), None, "invalid_type", path or None)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"We could not parse the JSON body of your request: {error}."
        raise WrongBody(Failure(400, message)) from error


def schema_of(value: Any) -> Mapping[str, Any]:
    """`value` if it is a JSON schema, else one that allows an object."""
    return value if isinstance(value, Mapping) else {"type": "object"}
