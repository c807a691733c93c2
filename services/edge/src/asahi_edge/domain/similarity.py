"""The question in a request, apart from everything else: what tier 2 compares, and within which scope.

Only plain text may be answered by a similar question's answer: no tools, images, files or JSON schema anywhere in the
request, and one answer to it. Everything but the question itself is the scope, which must be equal to the last byte.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.cache.v1.cache_pb2 import SemanticQuestion
from asahi.type.v1.chat_pb2 import Api, ChatRequest, Role
from asahi.type.v1.policy_pb2 import CacheSharing
from asahi.type.v1.routing_pb2 import Routing
from asahi_edge.domain.fingerprint import fingerprint

MOST_CHARACTERS = 400
"""Of a question, unless the operator says otherwise. Reading one costs the cache service 3 ms of CPU for 20 characters,
10 ms for 400, 42 ms for 1 600; long ones are hardly ever asked again in other words."""
MOST_BYTES = 1024 * 1024
"""Of a request: to hash a larger one once more costs more than tier 2 is worth."""
_NOT_ASKED = "Similar questions were not looked for"
_BLOCKING = frozenset(
    {
        *("tools", "functions", "tool_choice", "function_call", "web_search_options", "mcp_servers", "container"),
        *("audio", "modalities", "prediction", "logprobs", "top_logprobs"),
        *("previous_response_id", "conversation", "prompt", "background"),
    }
)
"""Fields of bodies whose answers depend on more than text, or carry more than text."""
_CONVERSATIONS = frozenset({Api.API_OPENAI_CHAT_COMPLETIONS, Api.API_ANTHROPIC_MESSAGES, Api.API_OPENAI_RESPONSES})
_TEXTS = frozenset({"text", "input_text", "output_text"})
_ROLES = frozenset({"system", "developer", "user", "assistant"})


@dataclass(frozen=True, slots=True)
class Isolated:
    """A question, and the body without it."""

    text: str
    rest: Mapping[str, Any]


Isolate = Callable[[], Isolated | None]
"""Finds the question in a request; None: it has none that tier 2 may answer. Costs something, so it is asked late."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """How the question of a request is found when a lookup needs it."""

    isolate: Isolate
    api: Api.ValueType
    routing: Routing
    verdict: Verdict
    apart: Mapping[str, Any]
    """What sets the request apart beside its body."""
    named: Sequence[Any]
    """Whom it names as its end user."""
    size: int
    """Bytes or characters of the request."""

    def question(self, request_id: str, most_characters: int = MOST_CHARACTERS) -> SemanticQuestion | str:
        """What tier 2 is asked; a sentence: it may not answer this, and why."""
        policy = self.verdict.policy.cache
        if not policy.false_hit_bound:
            return f"{_NOT_ASKED}: the policy sets no cache.false_hit_bound."
        if self.size > MOST_BYTES:
            return f"{_NOT_ASKED}: the request has {self.size} bytes, of at most {MOST_BYTES} that are compared."
        isolated = self.isolate()
        if isolated is None or not isolated.text.strip():
            return f"{_NOT_ASKED}: only plain text that ends with the user is compared, without tools, for one answer."
        if len(isolated.text) > most_characters:
            return (
                f"{_NOT_ASKED}: the question has {len(isolated.text)} characters, of at most {most_characters} "
                "that are compared (the operator's ASAHI_SIMILAR_CHARACTERS)."
            )
        apart = {**self.apart, "similar": self._sharers()}
        scope = fingerprint(self.verdict.organization_id, self.api, self.routing, isolated.rest, apart)
        return SemanticQuestion(
            text=isolated.text, scope=scope, false_hit_bound=policy.false_hit_bound, request_id=request_id
        )

    def _sharers(self) -> list[Any]:
        """Who may be given each other's answers: an end user's own requests, unless the policy shares with all.

        Where nobody is named, the key stands for its user.
        """
        if self.verdict.policy.cache.share_between_users == CacheSharing.CACHE_SHARING_ALL:
            return []
        if any(self.named):
            return list(self.named)
        return ["key", self.verdict.principal_id or self.verdict.api_key_id]


def in_infer(asked: Mapping[str, Any]) -> Isolated | None:
    """The question of a body of `/infer`."""
    if _has_schema(asked.get("response_format")):
        return None
    return Isolated(asked["prompt"], {**asked, "prompt": None})


def in_chat(chat: ChatRequest) -> Isolated | None:
    """The question of a conversation in Asahi's own form."""
    texts = all(part.WhichOneof("part") == "text" for message in chat.messages for part in message.parts)
    if not texts or chat.tools or chat.messages[-1].role != Role.ROLE_USER:
        return None
    if chat.response_format_json and _has_schema(_decoded(chat.response_format_json)):
        return None
    rest = ChatRequest()
    rest.CopyFrom(chat)
    part = rest.messages[-1].parts[-1]
    text, part.text = part.text, ""
    return Isolated(text, {"chat": rest.SerializeToString(deterministic=True)})


def in_native(api: Api.ValueType, body: Mapping[str, Any]) -> Isolated | None:
    """The question of a body in a provider's protocol."""
    if api not in _CONVERSATIONS or any(body.get(name) for name in _BLOCKING) or body.get("n") not in (None, 1):
        return None
    formats = (body.get("response_format"), body.get("output_format"), body.get("text"), body.get("output_config"))
    if any(map(_has_schema, formats)):
        return None
    name = "input" if api == Api.API_OPENAI_RESPONSES else "messages"
    said = body.get(name)
    if isinstance(said, str):
        return Isolated(said, {**body, name: None})
    if not isinstance(said, list) or not said or not all(map(_is_plain, said)) or said[-1].get("role") != "user":
        return None
    last = said[-1]
    content = last["content"]
    if isinstance(content, str):
        return Isolated(content, {**body, name: [*said[:-1], {**last, "content": None}]})
    blank = [*content[:-1], {**content[-1], "text": None}]
    return Isolated(content[-1]["text"], {**body, name: [*said[:-1], {**last, "content": blank}]})


def _is_plain(message: Any) -> bool:
    """Whether a message is nothing but text."""
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES or message.get("tool_calls"):
        return False
    content = message.get("content")
    if isinstance(content, str):
        return True
    return isinstance(content, list) and bool(content) and all(map(_is_text, content))


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)


def _has_schema(said: Any) -> bool:
    """Whether a format asks for JSON of a schema, in the form of any protocol."""
    if not isinstance(said, Mapping):
        return False
    return said.get("type") == "json_schema" or _has_schema(said.get("format"))


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return {"type": "json_schema"}  # what cannot be read is taken for the stricter
