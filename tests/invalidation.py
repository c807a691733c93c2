"""Answers made from a document are invalidated while two edges, on a cache replica each, read them.

They ask in several forms, which tier 2 answers alike, each replica from the questions that it keeps itself.

`python -m tests.invalidation` prints how long after the answer to `DELETE /governance/cache` a request was sent that
still got what was there before; exit code 1 if that is more than a second, or if a request fails.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.installation import Installation, Organization, running_installation
from tests.qdrant_faults import wait_for_model
from tests.redis_server import redis_server

EDGES = ("edge", "edge2")
WITHIN_S = 1.0
_BEFORE_S = 1.0
_AFTER_S = 2.0
_NEW_FORM_EVERY, _FORMS = 5, 50


@dataclass(slots=True)
class Outcome:
    """What readers got."""

    before: set[str] = field(default_factory=set)
    """Answers that came before the invalidation was sent."""
    sent: int = 0
    hits: int = 0
    similar: int = 0
    """Hits of tier 2."""
    stale: int = 0
    """Old answers to requests that were sent after."""
    latest_s: float = 0.0
    """How long after the answer the last of these was sent; 0: none was."""
    others: set[str] = field(default_factory=set)
    """Answers from the document that was left alone."""
    failed: int = 0
    repeated: int = 0
    """Invalidations that were sent again, since a replica could not be told."""


@contextmanager
def reading_edges(folder: Path, replicas: int = 1) -> Iterator[Installation]:
    """Two edges; of several cache replicas each has its own, and Redis is what these share.

    No two answers of the provider are alike, so that an old one is known when it is seen.
    """
    environment = {"simulator": {"ASAHI_SIMULATOR_DETERMINISTIC": "false"}}
    with ExitStack() as stack:
        if replicas > 1:
            environment["cache"] = {"REDIS_URL": stack.enter_context(redis_server()).url}
        yield stack.enter_context(
            running_installation(folder, edges=len(EDGES), caches=replicas, environment=environment)
        )


def question(document: str, form: int = 0) -> dict[str, Any]:
    """What readers ask about a document; forms differ in nothing that counts."""
    return {
        "prompt": f"Who signed it{'?' * (form + 1)}",
        "document": f"The text of {document}.",
        "document_id": document,
    }


async def round_of(organization: Organization, per_second: float) -> Outcome:
    """Reads at an even pace through both edges in turn, and invalidates the document meanwhile."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    sent_at = answered_at = loop.time() + 1e9

    async def read(client: httpx2.AsyncClient, document: str, form: int = 0) -> None:
        asked_at = loop.time()
        answer = await client.post("/infer", json=question(document, form))
        outcome.sent += 1
        if answer.status_code != 200:
            outcome.failed += 1
            return
        body = answer.json()
        outcome.hits += body["cache_hit"]
        outcome.similar += body["cache_tier"] == 2
        if document == "letter":
            outcome.others.add(body["response"])
        elif loop.time() < sent_at:
            outcome.before.add(body["response"])
        elif body["response"] in outcome.before and asked_at > answered_at:
            outcome.stale += 1
            outcome.latest_s = max(outcome.latest_s, asked_at - answered_at)

    async def invalidate(client: httpx2.AsyncClient) -> None:
        nonlocal sent_at, answered_at
        await asyncio.sleep(_BEFORE_S)
        sent_at = loop.time()
        while True:
            answer = await client.request("DELETE", "/governance/cache", json={"document_id": "contract"})
            if answer.status_code != 503:  # which says: send it again
                break
            outcome.repeated += 1
        answered_at = loop.time()
        assert answer.status_code == 200, answer.text

    async with organization.async_client(EDGES[0]) as one, organization.async_client(EDGES[1]) as other:
        clients = (one, other)
        await read(one, "letter")
        started = loop.time()
        async with asyncio.TaskGroup() as group:
            invalidating = group.create_task(invalidate(one))
            number = 0
            while not invalidating.done() or loop.time() < answered_at + _AFTER_S:
                await asyncio.sleep(max(0.0, started + number / per_second - loop.time()))
                document = "letter" if number % 20 == 19 else "contract"
                group.create_task(read(clients[number % len(clients)], document, _form(number)))
                number += 1
    return outcome


def _form(number: int) -> int:
    """Mostly the same, so that tier 1 answers; now and then one that nobody asked in before."""
    return 0 if number % _NEW_FORM_EVERY else number // _NEW_FORM_EVERY % _FORMS + 1


def faults(outcome: Outcome) -> list[str]:
    """What is wrong. Other documents' answers may go too: who does not hear of others for a moment trusts no copies."""
    wrong = []
    if outcome.latest_s > WITHIN_S:
        wrong.append(f"an old answer was given {outcome.latest_s:.2f} s after the invalidation's answer")
    if outcome.failed:
        wrong.append(f"{outcome.failed} requests failed")
    return wrong


async def _run(installation: Installation, rounds: int, per_second: float) -> bool:
    organization = installation.signup()
    fine = True
    for number in range(1, rounds + 1):
        outcome = await round_of(organization, per_second)
        wrong = faults(outcome)
        fine &= not wrong
        print(
            f"round {number}: {outcome.sent} reads, {outcome.hits} from the cache, {outcome.similar} of them to "
            f"other forms of a question; {outcome.stale} old answers to "
            f"requests sent after the invalidation was answered (sent again {outcome.repeated} times), the last "
            f"{outcome.latest_s * 1000:.0f} ms after; {len(outcome.others)} answers from another document; "
            f"{'; '.join(wrong) or 'fine'}",
            flush=True,
        )
    return fine


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often the document is invalidated")
    parser.add_argument("--rate", type=float, default=100.0, help="reads a second")
    parser.add_argument("--replicas", type=int, default=2, help="of the cache; more than one share a Redis")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-invalidation-") as folder,
        reading_edges(Path(folder), options.replicas) as installation,
    ):
        wait_for_model(installation, EDGES)
        return 0 if asyncio.run(_run(installation, options.rounds, options.rate)) else 1


if __name__ == "__main__":
    sys.exit(main())
