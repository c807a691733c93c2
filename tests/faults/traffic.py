"""Mixed traffic until it is stopped: every kind of caller that an installation has, each noting what it saw."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2

from tests.faults import replies
from tests.faults.books import Answer, ClientsBook
from tests.faults.schedule import EDGES
from tests.installation import Organization

BUDGET_MODEL = "gpt-4.1-nano"
PATIENCE_S = 20.0
"""How long a caller waits for the next byte: longer than anything is broken."""
PAUSE_S = 0.05
_REPEATS = 60
COMMON = 4
_TOKENS = 200
_AGAIN = frozenset({"503:service_unavailable", "503:overloaded", "502:provider_error", "refused", "broken"})
"""After what a repeater of an Idempotency-Key asks again."""


@dataclass(frozen=True, slots=True)
class Client:
    """One caller's way into the installation, and the book it writes."""

    organization: Organization
    book: ClientsBook
    random: Random
    http: dict[str, httpx2.AsyncClient]

    async def ask(self, edge: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> str:
        """Asks, and notes an answer; returns what came of it: `200`, `status:code`, `stream:code`, or how it broke."""
        try:
            async with self.http[edge].stream("POST", path, json=body, headers=headers or {}) as response:
                text = (await response.aread()).decode()
        except httpx2.ConnectError:
            return "refused"
        except httpx2.TimeoutException:
            return f"nothing for {PATIENCE_S:g} s"
        except (httpx2.TransportError, httpx2.StreamError):
            return "broken"
        if response.status_code != 200:
            return replies.refusal(response, text)
        found = replies.told(path, text, stream=body.get("stream", False))
        if isinstance(found, str):
            return found
        self.book.answers.append(
            Answer(
                self.organization.id,
                *found,
                degraded=response.headers.get("x-asahi-degraded", ""),
                key=(headers or {}).get("idempotency-key", ""),
            )
        )
        return "200"

    async def try_to_ask(self, edge: str, path: str, body: dict[str, Any], **headers: str) -> str:
        """`ask`, counted; where an edge takes no connection the other one is asked, as a load balancer would."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        came = await self.ask(edge, path, body, named)
        if came == "refused":
            self.book.seen[came] += 1
            await asyncio.sleep(PAUSE_S)
            (other,) = (one for one in EDGES if one != edge)
            came = await self.ask(other, path, body, named)
        self.book.seen[came] += 1
        return came

    def question(self) -> str:
        """One that others ask too, or one of its own."""
        if self.random.random() < 0.6:
            return f"Question {self.random.getrandbits(48):x}: why?"
        text = f"Common question {self.random.randrange(COMMON)}"
        self.book.common.add((self.organization.id, text))
        return text

    def body(self, question: str) -> tuple[str, dict[str, Any]]:
        """Path and body."""
        path = self.random.choices(("/infer", "/v1/chat/completions", "/v1/messages", "/v1/responses"), (4, 2, 1, 1))[0]
        messages = [{"role": "user", "content": question}]
        asked: dict[str, dict[str, Any]] = {
            "/infer": {"prompt": question},
            "/v1/chat/completions": {"messages": messages},
            "/v1/messages": {"messages": messages, "max_tokens": 1000},
            "/v1/responses": {"input": question},
        }
        return path, {**asked[path], "stream": self.random.random() < 0.5}


@asynccontextmanager
async def client_of(organization: Organization, book: ClientsBook, random: Random) -> AsyncIterator[Client]:
    """A caller that knows both edges."""
    async with organization.async_client(EDGES[0]) as one, organization.async_client(EDGES[1]) as other:
        one.timeout = other.timeout = httpx2.Timeout(PATIENCE_S)
        yield Client(organization, book, random, dict(zip(EDGES, (one, other), strict=True)))


async def questions(client: Client, stop: asyncio.Event) -> None:
    """Plain and streamed, new and repeated; one in ten leaves in the midst."""
    while not stop.is_set():
        path, body = client.body(client.question())
        asking = client.try_to_ask(client.random.choice(EDGES), path, body)
        if client.random.random() < 0.1:
            try:
                async with asyncio.timeout(client.random.uniform(0.01, 0.3)):
                    await asking
            except TimeoutError:
                client.book.seen["left"] += 1
        else:
            await asking
        await asyncio.sleep(client.random.uniform(0, PAUSE_S))


async def identical(client: Client, stop: asyncio.Event) -> None:
    """The same new question, from several at once at both edges."""
    while not stop.is_set():
        path, body = client.body(f"Identical question {client.random.getrandbits(48):x}")
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client.try_to_ask(EDGES[number % 2], path, body))
        await asyncio.sleep(client.random.uniform(0, 0.3))


async def workflows(client: Client, stop: asyncio.Event) -> None:
    """Steps on a document, of which another request may have had the first already."""
    while not stop.is_set():
        document = f"Document {client.random.randrange(COMMON)}, page {client.random.randrange(3)}"
        steps = [
            {"id": "s1", "prompt": "Summarise {{document}}", "type": "summarize"},
            {"id": "s2", "prompt": "List the names in {{document}}", "type": "extract"},
            {"id": "s3", "prompt": "{{s1}} {{s2}} {{prompt}}", "depends_on": ["s1", "s2"]},
        ]
        question = f"Question {client.random.getrandbits(32):x}: why?"
        body = {"prompt": question, "document": document, "steps": steps, "stream": client.random.random() < 0.5}
        await client.try_to_ask(client.random.choice(EDGES), "/infer", body)
        await asyncio.sleep(client.random.uniform(0.1, 0.5))


async def idempotent(client: Client, stop: asyncio.Event, name: str) -> None:
    """One key after the other, each repeated by two at both edges until there is an answer or none is kept."""
    number = 0
    while not stop.is_set():
        number += 1
        key = f"{name}-{number}"
        path, body = client.body(f"Question {client.random.getrandbits(48):x} with a key")

        async def repeat(edge: str, key: str, path: str, body: dict[str, Any]) -> None:
            for _ in range(_REPEATS):
                came = await client.try_to_ask(
                    edge, path, body, idempotency_key=key, x_asahi_tags=f"key={key}", x_asahi_cache="off"
                )
                if came not in _AGAIN and not came.startswith("stream:"):
                    return
                await asyncio.sleep(client.random.uniform(PAUSE_S, 0.3))

        async with asyncio.TaskGroup() as group:
            for edge in EDGES:
                group.create_task(repeat(edge, key, path, body))


async def spending(client: Client, stop: asyncio.Event) -> None:
    """Spends a budget that others spend too, until nothing is left of it, and on."""
    while not stop.is_set():
        question = f"Question {client.random.getrandbits(48):x} for money"
        body = {"prompt": question, "stream": client.random.random() < 0.3, "max_tokens": _TOKENS}
        body |= {"routing_mode": "explicit", "model_override": BUDGET_MODEL}
        came = await client.try_to_ask(client.random.choice(EDGES), "/infer", body)
        await asyncio.sleep(0.3 if came.startswith("429") else client.random.uniform(0, PAUSE_S))


async def keys(client: Client, stop: asyncio.Event) -> None:
    """Makes keys, asks on each, revokes it."""
    while not stop.is_set():
        await asyncio.sleep(client.random.uniform(0.2, 0.6))
        made = await _govern(client, "POST", "/governance/api-keys", {"name": "short-lived", "scopes": ["infer"]})
        if made is None:
            continue
        own = {"authorization": f"Bearer {made['api_key']}"}
        client.book.seen[f"own key {await client.ask('edge', '/infer', {'prompt': 'Am I known?'}, own)}"] += 1
        if await _govern(client, "DELETE", f"/governance/api-keys/{made['id']}", None) is not None:
            client.book.revoked.append(made["api_key"])


async def policies(client: Client, stop: asyncio.Event) -> None:
    """Writes ever higher numbers into the policy."""
    while not stop.is_set():
        await asyncio.sleep(client.random.uniform(0.2, 0.6))
        client.book.policy_sent += 1
        body = {"default_max_output_tokens": 1000 + client.book.policy_sent}
        if await _govern(client, "POST", f"/governance/policies/{client.organization.id}", body) is not None:
            client.book.policy_written = client.book.policy_sent


async def _govern(client: Client, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a call of governance answered; None: it did not succeed, or nobody knows."""
    edge = client.random.choice(EDGES)
    try:
        answer = await client.http[edge].request(method, path, json=body)
    except httpx2.TransportError:
        client.book.seen["governance broken"] += 1
        return None
    if not answer.is_success:
        client.book.seen[f"governance {replies.refusal(answer, answer.text)}"] += 1
        return None
    told: dict[str, Any] = answer.json() if answer.content else {}
    found: dict[str, Any] = told.get("data", told)
    return found
