"""Kills one service at random instants under load, then compares three books: clients, provider, ledger.

`python -m tests.kills --service edge --instants 50 --seed 1`; without `--service`, all of them one after the other, and
the edge together with billing. With `--held` billing keeps its books in PostgreSQL and every call waits for a hold of a
budget; in the end no hold is left, and every total is the sum of its entries.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.rpc.channel import ServiceChannel
from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.postgresql import postgresql
from tests.simulator import SimulatorControl

VICTIMS = ("edge", "cache", "router", "billing", "auth", "edge+billing")
CLIENTS = 6
PAUSE_S = (0.2, 0.9)
"""Between a service's being ready and its next kill."""
SETTLED_WITHIN_S = 60.0
HOLDS_END_WITHIN_S = 90.0
"""Longer than the lease of a hold whose edge was killed."""
ALLOWED = {
    "edge": {"200", "connection", "stream_broken"},
    "cache": {"200"},
    "router": {"200", "503:service_unavailable", "stream:upstream_interrupted"},
    "billing": {"200"},
    "auth": {"200", "503:service_unavailable"},
    "edge+billing": {"200", "connection", "stream_broken"},
}
"""What callers may see while services are being killed, by the degrade table."""
_HELD = {"503:service_unavailable", "stream:service_unavailable"}
"""What they may see besides while billing is away and money would have to be held."""
_BUDGET = {"per": "organization", "window": "month", "limit_usd": 1000, "action": "block"}
_BILLING = pb.DESCRIPTOR.services_by_name["BillingService"]


@dataclass(slots=True)
class Books:
    """What the clients saw."""

    seen: Counter[str] = field(default_factory=Counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    """Of those who got the last byte: request id, model, text, cost, tier."""


async def load(organization: Organization, books: Books, random: Random, stop: asyncio.Event) -> None:
    """One client: plain and streamed, new and repeated questions, until `stop`."""
    async with organization.async_client() as client:
        while not stop.is_set():
            fresh = random.random() < 0.7
            prompt = f"Question {random.getrandbits(40)}" if fresh else f"Common question {random.randrange(5)}"
            body = {"prompt": prompt, "stream": random.random() < 0.5}
            try:
                await ask(client, body, books)
            except (httpx2.TransportError, httpx2.StreamError):
                books.seen["stream_broken" if body["stream"] else "connection"] += 1
                await asyncio.sleep(0.05)


async def ask(client: httpx2.AsyncClient, body: dict[str, Any], books: Books) -> None:
    """One question, noted in the books."""
    async with client.stream("POST", "/infer", json=body) as response:
        text = (await response.aread()).decode()
    if response.status_code != 200:
        books.seen[f"{response.status_code}:{json.loads(text)['error']['code']}"] += 1
        return
    answer = json.loads(text) if not body["stream"] else _last_event(text)
    if answer is None:
        books.seen["stream_broken"] += 1
    elif "error" in answer:
        books.seen[f"stream:{answer['error']['code']}"] += 1
    else:
        books.seen["200"] += 1
        books.answers.append(answer)


def _last_event(text: str) -> dict[str, Any] | None:
    """The data of `done` or `error`; None: the stream ended without either."""
    *_, block = text.rstrip().split("\n\n")
    lines = dict(line.split(": ", 1) for line in block.splitlines())
    if lines.get("event") not in {"done", "error"}:
        return None
    found: dict[str, Any] = json.loads(lines["data"])
    return found


async def run(installation: Installation, victim: str, instants: int, seed: int, database: str = "") -> list[str]:
    """Kills `victim` so often under load; returns what is wrong in the books.

    `database`: the PostgreSQL that billing is on, where calls need a hold; empty: neither.
    """
    random = Random(seed)
    control = SimulatorControl(installation.url_of("simulator"))
    control.reset()
    control.rules({"mode": "slow", "params": {"first_token_ms": 30, "tokens_per_second": 800}})
    organization = installation.signup(f"Kills of {victim}")
    if database:
        with organization.client() as client:
            client.post(f"/governance/policies/{organization.id}", json={"budgets": [_BUDGET]}).raise_for_status()
    books, stop = Books(), asyncio.Event()
    clients = [
        asyncio.create_task(load(organization, books, Random(f"{seed}/{number}"), stop)) for number in range(CLIENTS)
    ]
    await asyncio.sleep(0.5)
    for _ in range(instants):
        await asyncio.sleep(random.uniform(*PAUSE_S))
        await asyncio.to_thread(_kill_and_restart, installation, victim)
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*clients)
    wrong = await _compare(installation, organization, control, books, victim=victim, database=database)
    return wrong + await _ledger_faults(installation, organization) if database else wrong


def _kill_and_restart(installation: Installation, victim: str) -> None:
    processes = [installation[name] for name in victim.split("+")]
    for process in processes:
        process.kill()
    for process in processes:
        process.start()
    for process in processes:
        process.wait_ready()


async def _ledger_faults(installation: Installation, organization: Organization) -> list[str]:
    """Holds that are left when all calls are settled, and totals that are not the sum of their entries."""
    target = f"127.0.0.1:{installation['billing'].grpc_port}"
    deadline = time.monotonic() + HOLDS_END_WITHIN_S
    async with ServiceChannel("billing", target, _BILLING, timeout_s=SETTLED_WITHIN_S) as channel:
        while True:
            found = await BillingServiceStub(channel).CheckLedger(
                pb.CheckLedgerRequest(organization_id=organization.id)
            )
            if not found.open_holds or time.monotonic() > deadline:
                break
            await asyncio.sleep(1)
    held = [f"{found.open_holds} holds are left"] if found.open_holds else []
    return held + [f"the ledger breaks: {one.figure} {one.place}" for one in found.breaks]


async def _compare(
    installation: Installation,
    organization: Organization,
    control: SimulatorControl,
    books: Books,
    *,
    victim: str,
    database: str,
) -> list[str]:
    calls = {(call["request_id"], int(call["attempt"])): call for call in control.calls()}
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        rows = call_records(installation.data, organization.id, database)
        records = {(row["request_id"], row["attempt"]): row for row in rows}
        if calls.keys() <= records.keys() or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.25)
    allowed = ALLOWED[victim] | (_HELD if database and "billing" in victim else set())
    wrong = [f"callers saw {what} {n} times" for what, n in books.seen.items() if what not in allowed]
    wrong += [f"no record of the provider call {key}" for key in calls.keys() - records.keys()]
    if len(rows) != len(records):
        wrong.append(f"{len(rows) - len(records)} provider calls have more than one record")
    answered = {answer["request_id"]: answer for answer in books.answers}
    for key, call in calls.items():
        row, answer = records.get(key), answered.get(key[0])
        if row is None:
            continue
        if answer is not None and answer["cost"] > 0:
            wrong += _differences(key, call, row)
            if row["orphan"] or not row["answered"]:
                wrong.append(f"{key} reached its caller, and its record says that it did not")
        if row["orphan"] and "edge" not in victim:
            wrong.append(f"{key} is an orphan, and its edge was never killed")
    for answer in books.answers:
        if answer["cost"] > 0 and not any(key[0] == answer["request_id"] for key in calls):
            wrong.append(f"{answer['request_id']} was billed, and no provider call was made for it")
        if answer["finish_reason"] != "stop":
            wrong.append(f"{answer['request_id']} got a partial answer")
    orphans = sum(row["orphan"] for row in rows)
    print(
        f"{victim}: {dict(books.seen)}; {len(calls)} provider calls, {len(rows)} records, {orphans} orphans, "
        f"{len(wrong)} faults",
        flush=True,
    )
    return wrong


def _differences(key: tuple[str, int], call: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Where the record of an answer that reached its caller differs from the provider's count."""
    counted = (call["prompt_tokens"] - call["cached_tokens"], call["cached_tokens"], call["completion_tokens"])
    recorded = (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"])
    if call["outcome"] == "answered" and counted != recorded:
        return [f"{key}: the provider counted {counted}, the record says {recorded}"]
    return []


async def kill_services(
    data: Path, victims: Sequence[str], instants: int, seed: int, *, held: bool = False
) -> list[str]:
    """All of `victims`, one after the other, in one installation; returns what is wrong."""
    environment = {"edge": {"ASAHI_ORPHAN_SETTLE_SECONDS": "7"}}
    wrong = []
    with ExitStack() as stack:
        database = stack.enter_context(postgresql()).create_database("billing") if held else ""
        if held:
            environment["billing"] = {"DATABASE_URL": database}
        installation = stack.enter_context(running_installation(data, environment=environment))
        for victim in victims:
            wrong += [f"{victim}: {fault}" for fault in await run(installation, victim, instants, seed, database)]
    return wrong


def main() -> None:
    """Runs from the command line; exit code 1 if the books differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", choices=VICTIMS, action="append", help="default: all")
    parser.add_argument("--instants", type=int, default=50, help="kills of each service")
    parser.add_argument("--held", action="store_true", help="billing on PostgreSQL, a hold for every call")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's instants and questions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        victims = arguments.service or VICTIMS
        killed = kill_services(Path(folder) / "data", victims, arguments.instants, arguments.seed, held=arguments.held)
        wrong = asyncio.run(killed)
    for fault in wrong:
        print(fault)
    print(f"{len(wrong)} faults; repeat with --seed {arguments.seed}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
