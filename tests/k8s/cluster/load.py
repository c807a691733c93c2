"""Steady callers, and the three books that have to agree: theirs, the provider's, the ledger's."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from tests.k8s.cluster.installation import Installation
from tests.ledger import call_records

PER_SECOND = 20.0
STREAMS = 5
KEYS = 5
"""Of one organization; each edge asks for each of them again every few seconds."""
_FRESH = 0.8
"""Share of questions that nobody has asked before."""
_RECORDED_WITHIN_S = 60.0


@dataclass(slots=True)
class Books:
    """What callers saw."""

    begun: float = field(default_factory=time.monotonic)
    requests: int = 0
    streams: int = 0
    failures: list[tuple[float, float, str]] = field(default_factory=list)
    """When it began and when it failed, in seconds of `time.monotonic`, and what the caller saw."""
    answers: list[dict[str, Any]] = field(default_factory=list)

    def faults(self) -> list[str]:
        """What callers saw that was no whole answer, counted."""
        return [f"{what}: {count} times" for what, count in Counter(what for *_, what in self.failures).items()]


@asynccontextmanager
async def load(
    installation: Installation, headers: dict[str, str], *, per_second: float = PER_SECOND, seed: int = 1
) -> AsyncIterator[Books]:
    """Calls as long as the block lasts; then those under way end. Half the plain ones come over a new connection."""
    books, random, stop = Books(), Random(seed), asyncio.Event()
    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=50)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx2.AsyncClient(base_url=installation.url, headers=one, timeout=60.0, limits=limits)
            )
            for one in [headers, *(await _further_keys(installation, headers))]
        ]
        plain = asyncio.create_task(_plain(clients, books, random, stop, 1 / per_second))
        streams = [
            asyncio.create_task(_streams(clients[number % KEYS], books, random, stop)) for number in range(STREAMS)
        ]
        try:
            yield books
        finally:
            stop.set()
            await asyncio.gather(plain, *streams)


async def _further_keys(installation: Installation, headers: dict[str, str]) -> list[dict[str, str]]:
    """Headers of each."""
    found = []
    async with httpx2.AsyncClient(base_url=installation.url, headers=headers, timeout=30.0) as client:
        for number in range(1, KEYS):
            answer = await client.post("/governance/api-keys", json={"name": f"Key {number}", "scopes": ["infer"]})
            assert answer.status_code == 201, answer.text
            found.append({"authorization": f"Bearer {answer.json()['api_key']}"})
    return found


async def _plain(
    clients: list[httpx2.AsyncClient], books: Books, random: Random, stop: asyncio.Event, every_s: float
) -> None:
    async with asyncio.TaskGroup() as asking:
        due = time.monotonic()
        while not stop.is_set():
            fresh = random.random() < _FRESH
            prompt = f"Question {random.getrandbits(40)}" if fresh else f"Common question {random.randrange(5)}"
            books.requests += 1
            client = random.choice(clients)
            asking.create_task(_ask(client, books, prompt) if books.requests % 2 else _ask_anew(client, books, prompt))
            due += every_s
            await asyncio.sleep(max(due - time.monotonic(), 0))


async def _ask_anew(known: httpx2.AsyncClient, books: Books, prompt: str) -> None:
    async with httpx2.AsyncClient(base_url=known.base_url, headers=known.headers, timeout=60.0) as client:
        await _ask(client, books, prompt)


async def _ask(client: httpx2.AsyncClient, books: Books, prompt: str) -> None:
    begun = time.monotonic()
    try:
        answer = await client.post("/infer", json={"prompt": prompt})
    except httpx2.TransportError as error:
        books.failures.append((begun, time.monotonic(), f"plain: {type(error).__name__}: {error}"))
        return
    if answer.status_code != 200:
        books.failures.append((begun, time.monotonic(), f"plain: {answer.status_code} {_code(answer.text)}"))
        return
    books.answers.append(answer.json())


async def _streams(client: httpx2.AsyncClient, books: Books, random: Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        books.streams += 1
        begun = time.monotonic()
        body = {"prompt": f"Long question {random.getrandbits(40)}", "stream": True}
        try:
            async with client.stream("POST", "/infer", json=body) as response:
                text = (await response.aread()).decode()
        except (httpx2.TransportError, httpx2.StreamError) as error:
            books.failures.append((begun, time.monotonic(), f"stream: {type(error).__name__}: {error}"))
            await asyncio.sleep(0.1)
            continue
        last = text.rstrip().rpartition("\n\n")[2]
        if response.status_code != 200 or not last.startswith("event: done"):
            books.failures.append((begun, time.monotonic(), f"stream: {response.status_code} {_code(last)}"))
            await asyncio.sleep(0.1)
        else:
            books.answers.append(json.loads(last.partition("\ndata: ")[2]))


def _code(text: str) -> str:
    """The error's code and message in a body or an event, else the text's end."""
    try:
        error = json.loads(text.rpartition("data: ")[2])["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return text[-80:]


async def compare(installation: Installation, organization: str) -> tuple[int, list[str]]:
    """How many calls the provider has counted, and where the ledger differs."""
    deadline = time.monotonic() + _RECORDED_WITHIN_S
    while True:
        counted = await asyncio.to_thread(installation.simulator.calls)
        calls = {(call["request_id"], int(call["attempt"])) for call in counted}
        rows = await asyncio.to_thread(call_records, installation.cluster.folder, "", installation.databases["billing"])
        recorded = Counter((row["request_id"], row["attempt"]) for row in rows)
        lost = calls - recorded.keys()
        if not lost or time.monotonic() > deadline:
            break
        await asyncio.sleep(1)
    doubled = [key for key, count in recorded.items() if count > 1]
    faults = [f"{len(lost)} provider calls have no record"] if lost else []
    if doubled:
        faults.append(f"{len(doubled)} provider calls have several records")
    # Tries that did not get as far as the provider have records, too, which cost nothing.
    paid = {
        (row["request_id"], row["attempt"])
        for row in rows
        if row["cost_nanos"] and row["organization_id"] == organization
    }
    if unknown := paid - calls:
        faults.append(f"{len(unknown)} records ask money for calls that the provider has not seen")
    return len(calls), faults
