"""Mixed traffic until it is stopped: every kind of caller that an installation has, each noting what it saw."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2

from tests.faults.books import Answer, ClientsBook
from tests.faults.schedule import EDGES
from tests.installation import Organization

BUDGET_MODEL = "gpt-4.1-nano"
_PATIENCE_S = 20.0
"""How long a caller waits for the next byte: longer than anything is broken."""
_PAUSE_S = 0.05
_REPEATS = 60
_COMMON = 4
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
            return f"nothing for {_PATIENCE_S:g} s"
        except (httpx2.TransportError, httpx2.StreamError):
            return "broken"
        if response.status_code != 200:
            return _refusal(response, text)
        found = _chat_answer(text, body) if path.startswith("/v1") else _infer_answer(text, body)
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
            await asyncio.sleep(_PAUSE_S)
            (other,) = (one for one in EDGES if one != edge)
            came = await self.ask(other, path, body, named)
        self.book.seen[came] += 1
        return came

    def question(self) -> str:
        """One that others ask too, or one of its own."""
        if self.random.random() < 0.6:
            return f"Question {self.random.getrandbits(48):x}: why?"
        text = f"Common question {self.random.randrange(_COMMON)}"
        self.book.common.add((self.organization.id, text))
        return text

    def body(self, question: str) -> tuple[str, dict[str, Any]]:
        """Path and body."""
        stream = self.random.random() < 0.5
        if self.random.random() < 0.7:
            return "/infer", {"prompt": question, "stream": stream}
        chat: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "stream": stream}
        return "/v1/chat/completions", chat


@asynccontextmanager
async def client_of(organization: Organization, book: ClientsBook, random: Random) -> AsyncIterator[Client]:
    """A caller that knows both edges."""
    async with organization.async_client(EDGES[0]) as one, organization.async_client(EDGES[1]) as other:
        one.timeout = other.timeout = httpx2.Timeout(_PATIENCE_S)
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
        await asyncio.sleep(client.random.uniform(0, _PAUSE_S))


async def identical(client: Client, stop: asyncio.Event) -> None:
    """The same new question, from several at once at both edges."""
    while not stop.is_set():
        path, body = client.body(f"Identical question {client.random.getrandbits(48):x}")
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client.try_to_ask(EDGES[number % 2], path, body))
        await asyncio.sleep(client.random.uniform(0, 0.3))


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
                await asyncio.sleep(client.random.uniform(_PAUSE_S, 0.3))

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
        await asyncio.sleep(0.3 if came.startswith("429") else client.random.uniform(0, _PAUSE_S))


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
        client.book.seen[f"governance {_refusal(answer, answer.text)}"] += 1
        return None
    told: dict[str, Any] = answer.json() if answer.content else {}
    found: dict[str, Any] = told.get("data", told)
    return found


def _refusal(response: httpx2.Response, text: str) -> str:
    code = json.loads(text)["error"]["code"]
    hurry = " without retry-after" if response.status_code == 503 and "retry-after" not in response.headers else ""
    return f"{response.status_code}:{code}{hurry}"


_Told = tuple[str, str, float, str]
"""The id of the request that made the answer, its text, dollars, ending."""


def _infer_answer(text: str, body: dict[str, Any]) -> _Told | str:
    """What was told; or how a stream ended instead."""
    answer = json.loads(text) if not body.get("stream") else _last_event(text)
    if answer is None:
        return "broken"
    if "error" in answer:
        return f"stream:{answer['error']['code']}"
    return answer["request_id"], answer["response"], float(answer["cost"]), answer["finish_reason"]


def _last_event(text: str) -> dict[str, Any] | None:
    """The data of `done` or `error`; None: the stream ended without either."""
    *_, block = text.rstrip().split("\n\n")
    lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
    if lines.get("event") not in {"done", "error"}:
        return None
    found: dict[str, Any] = json.loads(lines["data"])
    return found


def _chat_answer(text: str, body: dict[str, Any]) -> _Told | str:
    if not body["stream"]:
        answer = json.loads(text)
        (choice,) = answer["choices"]
        said, asahi = choice["message"]["content"] or "", answer["asahi"]
        return asahi["request_id"], said, float(asahi["cost_usd"]), choice["finish_reason"]
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if not events:
        return "broken"
    if events[-1] != "[DONE]":
        last = json.loads(events[-1])
        return f"stream:{last['error']['code']}" if "error" in last else "broken"
    chunks = [json.loads(event) for event in events[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    finish = next(choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason"))
    asahi = next(chunk["asahi"] for chunk in reversed(chunks) if "asahi" in chunk)
    return asahi["request_id"], said, float(asahi["cost_usd"]), finish
