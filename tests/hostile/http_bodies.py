"""Wrong bodies and headers to every HTTP path, over kept-alive connections."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from tests.hostile.mutations import mutated
from tests.installation import Installation, Organization

_PATIENCE_S = 60.0
_AT_ONCE = 8
_MESSAGES = [{"role": "user", "content": "What is 6 times 7?"}]
_TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
_INFER = {
    "prompt": "What is 6 times 7?",
    "system": "Be brief.",
    "max_tokens": 20,
    "temperature": 0.5,
    "stop": ["."],
    "routing_mode": "autopilot",
    "quality_threshold": 3,
    "stream": False,
    "cost_budget": 0.1,
    "user_id": "ada",
}
_BODIES: dict[str, dict[str, Any]] = {
    "/infer": _INFER,
    "/quote": _INFER,
    "/v1/chat/completions": {
        "model": "gpt-6-luna",
        "messages": _MESSAGES,
        "max_tokens": 20,
        "tools": [_TOOL],
        "stream": True,
        "n": 1,
        "stream_options": {"include_usage": True},
        "metadata": {"user_id": "ada"},
        "response_format": {"type": "text"},
    },
    "/v1/messages": {"model": "asahi", "max_tokens": 20, "messages": _MESSAGES, "system": "Be brief.", "stream": True},
    "/v1/messages/count_tokens": {"model": "asahi", "messages": _MESSAGES},
    "/v1/responses": {"model": "gpt-6-luna", "input": "What is 6 times 7?", "store": False, "stream": False},
    "/v1/embeddings": {"model": "text-embedding-4", "input": ["What is 6 times 7?"]},
    "/feedback": {"request_id": "01890000-0000-7000-8000-000000000000", "score": 0.5, "comment": "Fine."},
    "/signup": {"org_name": "Hostile", "user_id": "mallory", "email": "m@example.com"},
    "/governance/api-keys": {"name": "key", "scopes": ["infer"], "expires_at": "2030-01-01T00:00:00Z"},
    "/governance/cache": {"tag": "a=b", "older_than": "2026-01-01T00:00:00Z"},
    "/governance/policies/{org_id}": {
        "allowed_models": ["gpt-6-*"],
        "quality": {"floor": 3.0},
        "cache": {"tiers": [1], "ttl_seconds": 60},
        "budgets": [{"per": "organization", "window": "day", "limit_usd": 50.0, "action": "alert", "alert_at": [0.5]}],
    },
}
_HEADERS: tuple[tuple[str, Sequence[str]], ...] = (
    ("idempotency-key", ("a", "\x7f", "k" * 300, "é")),
    ("x-asahi-routing", ("{}", "{", '{"quality_threshold": 1e999}', "[" * 5000)),
    ("x-asahi-tags", ("a=b", "=", ",,,,", "a=" + "b" * 5000)),
    ("x-asahi-cache", ("on", "sideways")),
    ("cache-control", ("max-age=-1", "max-age=99999999999999999999", "no-store")),
    ("content-type", ("text/plain", "application/json; charset=utf-16", "multipart/form-data; boundary=")),
    ("content-encoding", ("gzip", "br", "identity")),
    ("traceparent", ("00-0-0-0", "x" * 100)),
    ("accept", ("text/plain", "*/*;q=x")),
    ("x-request-id", ("\x01", "r" * 500)),
    ("if-match", ("x", "99999999999999999999")),
    ("anthropic-version", ("2023-06-01", "?")),
)


@dataclass(slots=True)
class Outcome:
    """What was asked and what came of it."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


async def ask_wrongly(inferring: Organization, governing: Organization, numbers: Iterable[int], seed: int) -> Outcome:
    """Asks these; 5xx are faults, but 501 (not served yet) and 504 (a latency budget that ran out)."""
    outcome = Outcome()
    operations = await _operations(inferring.installation)
    left = iter(numbers)
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(_ask_many(left, seed, operations, {True: governing, False: inferring}, outcome))
    return outcome


async def _operations(installation: Installation) -> list[tuple[str, str]]:
    """Every method and path of the OpenAPI document; those with bodies four times as often."""
    async with httpx2.AsyncClient(base_url=installation.url, verify=False) as http:
        document = (await http.get("/openapi.json")).json()
    found = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    return found + 3 * [(method, path) for method, path in found if path in _BODIES and method != "GET"]


async def _ask_many(
    numbers: Iterator[int],
    seed: int,
    operations: list[tuple[str, str]],
    callers: Mapping[bool, Organization],
    outcome: Outcome,
) -> None:
    """`callers`: who asks governance, and who asks all else."""
    async with Wire(callers[False].installation) as wire:
        for number in numbers:
            random = Random(f"{seed}/{number}")
            method, path = random.choice(operations)
            told = _request(random, method, path, callers[path.startswith("/governance")])
            try:
                status, _, text = await asyncio.wait_for(wire.ask(told), _PATIENCE_S)
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                outcome.faults.append(f"{seed}/{number} {method} {path}: {type(error).__name__}")
                await wire.open()
                continue
            outcome.statuses[str(status)] += 1
            if status >= 500 and status not in (501, 504):
                outcome.faults.append(f"{seed}/{number} {method} {path}: {status} {text[:300]!r}")


def _request(random: Random, method: str, path: str, who: Organization) -> bytes:
    body = mutated(random, _BODIES.get(path, {"name": "value"})) if method != "GET" else b""
    odd = random.choice(("0", "%00", "a" * 300, "01890000-0000-7000-8000-000000000000", "..%2f", who.id, "é"))
    place = re.sub(r"{\w+}", lambda _: who.id if random.random() < 0.5 else odd, path).replace("é", "%c3%a9")
    if random.random() < 0.3:
        place += "?" + "&".join(f"{name}={random.choice(_QUERIES)}" for name in random.sample(_NAMES, 2))
    headers = {"content-type": "application/json", "authorization": f"Bearer {who.key}"}
    if random.random() < 0.3:
        name, values = random.choice(_HEADERS)
        headers[name] = random.choice(values)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    line = f"{method} {place} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n{head}\r\n"
    return line.encode("utf-8") + body


_NAMES = ["period", "from", "to", "limit", "cursor", "group_by", "metric", "interval", "horizon", "format", "org_id"]
_QUERIES = (
    "",
    "1",
    "-1",
    "99999999999999999999",
    "%00",
    "hour",
    "model",
    "tag:",
    "x" * 500,
    "2026-01-01T00:00:00Z",
    "cost",
)


class Wire:
    """One kept-alive connection that reads whole answers and says nothing about what it sends."""

    def __init__(self, installation: Installation) -> None:
        self._port = installation["edge"].http_port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Wire":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def open(self) -> None:
        """A new connection."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=64 * 1024 * 1024)

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Status, head in lower case, body."""
        if self._writer.is_closing() or self._reader.at_eof():
            await self.open()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" in lowered:
            body = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
        else:
            found = re.search(rb"content-length: (\d+)", lowered)
            body = await self._reader.readexactly(int(found[1])) if found else b""
        if b"connection: close" in lowered:
            self._writer.close()
        return status, lowered, body
