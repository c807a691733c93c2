"""The table of errors of the HTTP contract as rows that can be caused: what is asked, and what must be answered.

`tests.error_coverage` holds these rows against the errors that the code can raise.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any

import httpx2

from tests.installation import Installation, Organization

UNPRICED = "model-without-a-price"
INFER, CHAT, MESSAGES, RESPONSES = "/infer", "/v1/chat/completions", "/v1/messages", "/v1/responses"
PATHS = (INFER, CHAT, MESSAGES, RESPONSES)
EMBEDDINGS = "/v1/embeddings"
LIMIT = {RESPONSES: "max_output_tokens"}
"""What a path calls the most tokens of an answer, where it is not `max_tokens`."""
_UNASKED = "claude-opus-4-1"
"""A model that nothing else here asks: its latency is the catalog's."""
_TRIES = 20
_LEAVES_AFTER_S = 2.0

UNSEEN = {
    "internal_error": "only a fault in Asahi raises it; services/edge/tests shows its shape",
    "cancelled": "the caller is gone",
    "not_implemented": "only what one path alone has comes later; tests/surface/test_policies.py causes it",
    "version_conflict": "only changes to policies meet it; tests/surface/test_policies.py causes it",
}
"""Codes that no question can be answered with on purpose, and why."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question that can be put to any path, plain or streamed."""

    text: str = "What is an error?"
    model: str | None = None
    """Named: explicit routing."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields that all paths have."""
    routing: dict[str, Any] = field(default_factory=dict)
    """Routing fields, for `/v1` in the header."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers in place of the usual ones; an empty one is left out."""
    method: str = "POST"
    body: bytes | None = None
    """In place of the JSON."""
    key: dict[str, Any] | None = None
    """The question is asked with a new key of this form."""
    twice: bool = False
    """Whether it is asked once before."""
    asked_before: str = ""
    """Text of a question that is asked before, all else being the same, whatever comes of it."""
    beside: bool = False
    """Whether it is asked while another of the same key is under way."""
    suspended: bool = False
    """Whether it comes from an organisation of its own that the operator has suspended."""
    streams: bool = True
    """Whether it is one that can be asked streamed, too."""

    def ask(self, client: httpx2.Client, caller: Organization, path: str, *, stream: bool) -> httpx2.Response:
        """The answer."""
        key = self._key(client, caller)
        request = self._request(client, caller, key, path, stream=stream)
        if self.asked_before:
            client.send(replace(self, text=self.asked_before)._request(client, caller, key, path, stream=stream))
        if self.twice:
            assert client.send(request).status_code == 200
        if not self.beside:
            return client.send(request)
        with _beside(replace(self, text=_SILENT)._request(client, caller, key, path, stream=False)):
            for _ in range(_TRIES):
                answer = client.send(request)
                if answer.status_code != 200:
                    break
        return answer

    def _request(
        self, client: httpx2.Client, caller: Organization, key: str, path: str, *, stream: bool
    ) -> httpx2.Request:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        if path != INFER and self.routing:
            headers["x-asahi-routing"] = httpx2.Request("POST", "http://x", json=self.routing).content.decode()
        headers |= self.headers
        content = (
            self.body
            if self.body is not None
            else httpx2.Request("POST", "http://x", json=self._json(path, caller, stream=stream)).content
        )
        return client.build_request(
            self.method,
            f"{caller.installation.url}{path}",
            headers={name: value for name, value in headers.items() if value},
            content=None if self.method == "GET" else content,
        )

    def _key(self, client: httpx2.Client, caller: Organization) -> str:
        if self.suspended:
            return _suspended_key(client, caller.installation)
        if self.key is None:
            return caller.key
        made = client.post(
            f"{caller.installation.url}/governance/api-keys", headers=caller.headers, json={"name": "row", **self.key}
        )
        assert made.status_code == 201, made.text
        secret: str = made.json()["api_key"]
        return secret

    def _json(self, path: str, caller: Organization, *, stream: bool) -> dict[str, Any]:
        limit = LIMIT.get(path, "max_tokens")
        own = {limit if name == "max_tokens" else name: value for name, value in self.fields.items()}
        fields = {n: caller.id if v == "OWN" else v for n, v in own.items()} | {"stream": stream}
        if path != INFER:
            model = {} if self.model is None else {"model": self.model}
            bound = {"max_tokens": 64} if path == MESSAGES else {}
            asked = (
                {"input": self.text}
                if path in (RESPONSES, EMBEDDINGS)
                else {"messages": [{"role": "user", "content": self.text}]}
            )
            return {**asked, **bound, **model, **fields}
        named = {} if self.model is None else {"routing_mode": "explicit", "model_override": self.model}
        return {"prompt": self.text, **named, **self.routing, **fields}


@dataclass(frozen=True, slots=True)
class Row:
    """An error: how it is caused, and what its answer must be."""

    code: str
    status: int
    type: str
    question: Question
    param: str | dict[str, str] | None = None
    """The field named; by path where they differ."""
    says: tuple[str, ...] = ()
    """What the message must contain."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers with their values; empty: any value."""
    paths: tuple[str, ...] = PATHS
    streams: tuple[bool, ...] = (False, True)
    begun: bool = False
    """Whether the error comes as an event, after the answer has begun with 200."""
    broken: str = ""
    """The service that is killed first."""

    def __str__(self) -> str:
        return f"{self.code} ({self.broken} down)" if self.broken else self.code

    def param_on(self, path: str) -> str | None:
        """The field that is named on `path`."""
        return self.param[path] if isinstance(self.param, dict) else self.param

    def status_on(self, path: str) -> int:
        """The status on `path`: Anthropic has one of its own for load."""
        return 529 if path == MESSAGES and self.code == "overloaded" else self.status


@contextmanager
def _beside(request: httpx2.Request) -> Iterator[None]:
    """Asks in a thread what is answered by nobody, and leaves at the end."""
    with httpx2.Client(timeout=_LEAVES_AFTER_S, verify=False) as client:
        asking = Thread(target=_leave, args=(client, request))
        asking.start()
        try:
            yield
        finally:
            asking.join()


def _leave(client: httpx2.Client, request: httpx2.Request) -> None:
    request.extensions = {"timeout": httpx2.Timeout(_LEAVES_AFTER_S).as_dict()}
    with suppress(httpx2.TimeoutException):
        client.send(request)


def _suspended_key(client: httpx2.Client, installation: Installation) -> str:
    """A key of a new organisation that is suspended."""
    made = installation.signup("Suspended")
    path = f"{installation.url}/governance/organizations/{made.id}/suspend"
    operator = {"x-admin-secret": installation["edge"].environment["ASAHI_ADMIN_SECRET"]}
    assert client.post(path, headers=operator).status_code == 200
    return made.key


def _rule(text: str, mode: str, **params: Any) -> dict[str, Any]:
    return {"mode": mode, "match": {"contains": text}, "params": params}


_NOT_ACCEPTED, _SATURATED, _SILENT, _CUT = "not accepted", "saturated", "silent", "cut short"
SIMULATOR_RULES = (
    _rule(_NOT_ACCEPTED, "status", status=401),
    _rule(_SATURATED, "status", status=429, retry_after_s=3),
    _rule(_SILENT, "hang"),
    _rule(_CUT, "cut", after_tokens=5),
)
_MODEL = "gpt-4.1-nano"
_NAMES_MODEL = {INFER: "model_override", CHAT: "model", RESPONSES: "model"}
_NO_RETRY = {"x-should-retry": "false"}
_BUDGET = {"per": "key", "window": "day", "action": "block"}
_LONG = "word " * 1_100_000

ROWS = (
    Row(
        "invalid_request", 400, "invalid_request_error", Question(fields={"temperature": "hot"}), "temperature",
        ("temperature", "'hot'", "float"),
    ),
    Row(
        "unsupported_by_model", 400, "invalid_request_error", Question(model="gpt-6-sol", fields={"stop": ["x"]}),
        "stop", ("gpt-6-sol", "'stop'", "models that do: "), paths=(INFER, CHAT, MESSAGES),
    ),
    Row(
        "unsupported_by_model", 400, "invalid_request_error", Question(model="gpt-6-sol", fields={"temperature": 0.3}),
        "temperature", ("gpt-6-sol", "'temperature'", "models that do: "), paths=(RESPONSES,),
    ),
    Row(
        "context_length_exceeded", 400, "invalid_request_error", Question(fields={"document": _LONG}), "prompt",
        ("tokens", "the largest window", "too few"), paths=(INFER,),
    ),
    Row(
        "context_length_exceeded", 400, "invalid_request_error", Question(text=_LONG), "messages",
        ("tokens", "the largest window", "too few"), paths=(CHAT, MESSAGES),
    ),
    Row(
        "context_length_exceeded", 400, "invalid_request_error", Question(text=_LONG), "input",
        ("tokens", "the largest window", "too few"), paths=(RESPONSES,),
    ),
    Row(
        "invalid_api_key", 401, "authentication_error", Question(headers={"authorization": ""}), None,
        ("Authorization: Bearer",), {"www-authenticate": "Bearer"},
    ),
    Row(
        "invalid_api_key", 401, "authentication_error", Question(headers={"authorization": "Bearer ask_mistyped"}),
        None, ("not valid",), {"www-authenticate": "Bearer"},
    ),
    Row(
        "insufficient_scope", 403, "permission_error", Question(key={"scopes": ["analytics"]}), None,
        ("'infer'", "analytics"),
    ),
    Row(
        "model_not_allowed", 403, "permission_error",
        Question(model="gpt-6-luna", key={"scopes": ["infer"], "allowed_models": ["claude-*"]}),
        _NAMES_MODEL, ("'gpt-6-luna'", "claude-*"),
    ),
    Row(
        "price_unknown", 403, "permission_error", Question(model=UNPRICED, routing={"cost_budget": 1}), "cost_budget",
        (UNPRICED, "leave it out"),
    ),
    Row(
        "organization_mismatch", 403, "permission_error", Question(fields={"organization_id": "org_of_another"}),
        "organization_id", ("organization_id",),
    ),
    Row(
        "organization_suspended", 403, "permission_error", Question(suspended=True), None, ("suspended", "operator"),
    ),
    Row(
        "rate_limit_exceeded", 429, "rate_limit_error",
        Question(key={"scopes": ["infer"], "rate_limits": {"requests_per_minute": 1}}, twice=True), None,
        ("requests_per_minute of the key is 1", "again"),
        {"retry-after": "", "retry-after-ms": "", "x-ratelimit-limit-requests": "1"},
    ),
    Row(
        "insufficient_quota", 429, "insufficient_quota",
        Question(model=_MODEL, key={"scopes": ["infer"], "budgets": [{**_BUDGET, "limit_usd": 0.000001}]}), None,
        ("the key's own budget of 0.000001 $ a day", "begins anew at"), _NO_RETRY,
    ),
    Row(
        "budget_reserved", 429, "rate_limit_error",
        Question(
            model=_MODEL, fields={"max_tokens": 1000}, headers={"x-asahi-cache": "off"}, beside=True,
            key={"scopes": ["infer"], "budgets": [{**_BUDGET, "limit_usd": 0.0007}]},
        ),
        None, ("are held by calls under way", "try again"), {"retry-after": "1", "retry-after-ms": "1000"},
    ),
    Row(
        "price_unknown", 403, "permission_error",
        Question(model=UNPRICED, key={"scopes": ["infer"], "budgets": [{**_BUDGET, "limit_usd": 1}]}),
        _NAMES_MODEL, (UNPRICED, "budgets that apply"),
    ),
    Row(
        "model_not_found", 404, "not_found_error", Question(model="gpt-6-lunar"),
        _NAMES_MODEL, ("'gpt-6-lunar'", "did you mean gpt-6-luna"),
    ),
    Row(
        "not_found", 404, "not_found_error", Question(), None, ("/docs",), paths=("/inference", "/v1/chat/completion"),
        streams=(False,),
    ),
    Row(
        "method_not_allowed", 405, "invalid_request_error", Question(method="GET"), None, ("GET", "/docs"),
        {"allow": "POST"}, streams=(False,),
    ),
    Row(
        "request_too_large", 413, "invalid_request_error", Question(body=b" " * (32 * 1024 * 1024 + 1)), None,
        ("33554433", "33554432"), streams=(False,),
    ),
    Row(
        "unsupported_media_type", 415, "invalid_request_error",
        Question(headers={"content-type": "application/x-www-form-urlencoded"}), None,
        ("application/x-www-form-urlencoded", "Content-Type: application/json"),
    ),
    Row(
        "no_model_satisfies", 422, "invalid_request_error", Question(routing={"cost_budget": 0.000001}), "cost_budget",
        ("The cost budget of $0.000001 binds", "more."),
    ),
    Row(
        "no_model_satisfies", 422, "invalid_request_error",
        Question(routing={"latency_budget_ms": 300}, key={"scopes": ["infer"], "allowed_models": [_UNASKED]}),
        "latency_budget_ms", ("The latency budget of 300 ms binds", "ms more."),
    ),
    Row(
        "headers_too_large", 431, "invalid_request_error", Question(headers={"x-huge": "x" * 100_000}), None, ("65536",)
    ),
    Row(
        "idempotency_conflict", 409, "invalid_request_error",
        Question(headers={"idempotency-key": "once"}, asked_before="Another question"), None,
        ("another body", "another key"), _NO_RETRY,
    ),
    Row(
        "idempotency_replay_unavailable", 409, "invalid_request_error",
        Question(text=_CUT, model=_MODEL, headers={"idempotency-key": "once"}, asked_before=_CUT), None,
        ("is not kept", "not made again"), _NO_RETRY,
    ),
    Row(
        "provider_error", 502, "server_error", Question(text=_NOT_ACCEPTED, model=_MODEL), None,
        (_MODEL, "the operator's key"),
    ),
    Row(
        "upstream_interrupted", 502, "server_error", Question(text=_CUT, model=_MODEL), None,
        (_MODEL, "broke its answer off"), streams=(True,), begun=True,
    ),
    Row(
        "service_unavailable", 503, "server_error", Question(text="nobody routes"), None, ("router", "try again"),
        {"retry-after": "1", "retry-after-ms": "1000"}, broken="router",
    ),
    Row(
        "overloaded", 503, "server_error", Question(text=_SATURATED, model=_MODEL), None, (_MODEL, "Try again"),
        {"retry-after": "3", "retry-after-ms": "3000"},
    ),
    Row(
        "deadline_exceeded", 504, "server_error",
        Question(text=_SILENT, model=_MODEL, routing={"latency_budget_ms": 1700}), None, ("time",), _NO_RETRY,
    ),
)  # fmt: skip
