"""One seed: traffic, faults, recovery, and what is wrong with the books afterwards."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import msgspec

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.errors import AsahiError
from asahi_core.money import dollars
from asahi_core.rpc.channel import ServiceChannel
from tests.budgets import cost_nanos
from tests.faults import rpc_traffic, traffic
from tests.faults.books import Books, ClientsBook
from tests.faults.machine import Machine, running_machine
from tests.faults.schedule import EDGES, Fault, Schedule, schedule_of
from tests.installation import Installation, Organization
from tests.postgresql import PostgreSQL

RECOVERED_WITHIN_S = 10.0
"""On a machine that has a core for each process that wants one; longer by as much as it has fewer."""
_BOOKS_AGREE_WITHIN_S = 20.0
_HOLDS_END_WITHIN_S = 10.0
_QUIET_S = 0.5
_BUDGET_ANSWERS = 25
_BUDGET_TOKENS = 120
"""About what an answer to `traffic.spending` has."""
_WELL = ("plain", "streamed", "once", "whole", "health")
"""What must be well at each edge: three kinds of requests, answers without a degradation, its own word."""
_BILLING = pb.DESCRIPTOR.services_by_name["BillingService"]
_ALWAYS = {
    *("200", "left", "refused", "503:service_unavailable", "stream:upstream_interrupted"),
    *("429:insufficient_quota", "429:budget_reserved"),
    *("409:idempotency_replay_unavailable", "stream:idempotency_replay_unavailable"),
}
"""What callers may see while something is broken, by the degrade table."""
_MAY_HAVE_BEEN_DONE = {"broken", "504:deadline_exceeded"}
"""What they may see of a change besides: nobody knows then whether it was made."""
_BY_KIND = {
    "kill": {"broken"},
    "freeze": {"503:overloaded"},
    "provider": {"503:overloaded", "502:provider_error"},
}
"""What they may see besides, by what is broken."""


class Result(msgspec.Struct, kw_only=True):
    """What came of a seed; a line of the results."""

    seed: int
    commit: str
    without: str = ""
    servers: bool
    faults: list[str]
    wrong: list[str]
    seen: dict[str, int]
    calls: int
    records: int
    orphans: int
    recovered_s: float
    seconds: float
    load: float
    """The machine's load average at the end."""


class _Organizations:
    """Whose traffic it is."""

    def __init__(self, installation: Installation) -> None:
        self.one, self.other = installation.signup("One"), installation.signup("Other")
        self.budgeted, self.probing = installation.signup("Budgeted"), installation.signup("Probing")
        self.limit_nanos = _BUDGET_ANSWERS * cost_nanos(30, _BUDGET_TOKENS)
        _set_budget(self.budgeted, float(dollars(self.limit_nanos)))
        _set_budget(self.probing, 1000.0)

    @property
    def ids(self) -> set[str]:
        return {one.id for one in (self.one, self.other, self.budgeted, self.probing)}


async def run_seed(seed: int, data: Path, postgresql: PostgreSQL, *, commit: str = "", without: str = "") -> Result:
    """Breaks what the seed says; `without` leaves out a safeguard, which must be seen."""
    began = time.monotonic()
    schedule = schedule_of(seed)
    async with running_machine(data, schedule, postgresql, without) as machine:
        organizations = await asyncio.to_thread(_Organizations, machine.installation)
        book = ClientsBook()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_traffic(seed, organizations, book, stop))
            await _break(machine, schedule)
            recovered_s, ill = await _recover(organizations.probing)
            stop.set()
            await working
        wrong = []
        if recovered_s > RECOVERED_WITHIN_S * _crowd():
            wrong = [f"all was well again only after {recovered_s:.1f} s; not yet: {'; '.join(ill)}"]
        wrong += _strange(book, schedule)
        wrong += await _look_once_more(organizations, book)
        books = await _books(machine, organizations, book)
        edges_broken = any(fault.target in EDGES for fault in schedule.faults)
        wrong += books.faults(edges_broken=edges_broken)
        wrong += _overrun(books, organizations)
        wrong += await _ledger_faults(machine, organizations)
    return Result(
        seed=seed,
        commit=commit,
        without=without,
        servers=schedule.servers,
        faults=[str(fault) for fault in schedule.faults],
        wrong=wrong,
        seen=dict(sorted(book.seen.items())),
        calls=len(books.calls),
        records=len(books.records),
        orphans=sum(bool(row["orphan"]) for row in books.records),
        recovered_s=round(recovered_s, 2),
        seconds=round(time.monotonic() - began, 1),
        load=round(os.getloadavg()[0], 1),
    )


async def _traffic(seed: int, organizations: _Organizations, book: ClientsBook, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:

        async def client(organization: Organization, name: str) -> traffic.Client:
            opened = traffic.client_of(organization, book, Random(f"{seed}/{name}"))
            return await stack.enter_async_context(opened)

        one, other, budgeted = organizations.one, organizations.other, organizations.budgeted
        async with asyncio.TaskGroup() as group:
            for organization, name in ((one, "one"), (other, "other")):
                group.create_task(traffic.questions(await client(organization, f"{name}, questions"), stop))
                group.create_task(traffic.identical(await client(organization, f"{name}, identical"), stop))
                group.create_task(traffic.workflows(await client(organization, f"{name}, workflows"), stop))
                own = rpc_traffic.rpc_client_of(organization, book, Random(f"{seed}/{name}, gRPC"))
                group.create_task(rpc_traffic.calls(await stack.enter_async_context(own), stop))
                group.create_task(traffic.idempotent(await client(organization, f"{name}, once"), stop, name))
            for number in range(3):
                group.create_task(traffic.spending(await client(budgeted, f"spending {number}"), stop))
            group.create_task(traffic.keys(await client(one, "keys"), stop))
            group.create_task(traffic.policies(await client(other, "policies"), stop))


async def _break(machine: Machine, schedule: Schedule) -> None:
    """Every fault at its instant; returns when all are mended."""

    async def at_its_instant(fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        await machine.break_and_mend(fault)

    async with asyncio.TaskGroup() as group:
        for fault in schedule.faults:
            group.create_task(at_its_instant(fault))
        group.create_task(asyncio.sleep(_QUIET_S))


async def _recover(organization: Organization) -> tuple[float, list[str]]:
    """Seconds until every edge has answered each kind of request well; and what has not been well at last."""
    began = time.monotonic()
    number = 0
    ill = {f"{edge} {what}": "" for edge in EDGES for what in _WELL}
    while ill and time.monotonic() - began < 3 * RECOVERED_WITHIN_S * _crowd():
        number += 1
        for edge in EDGES:
            async for what, wrong in _looks(organization, edge, number):
                if not wrong:
                    ill.pop(f"{edge} {what}", None)
                elif f"{edge} {what}" in ill:
                    ill[f"{edge} {what}"] = wrong
        await asyncio.sleep(0.1)
    return time.monotonic() - began, [f"{what}: {wrong}" for what, wrong in ill.items()]


def _crowd() -> float:
    """How many processes want each core of the machine, at least one."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def _looks(organization: Organization, edge: str, number: int) -> AsyncIterator[tuple[str, str]]:
    """Each of `_WELL` at an edge, and what is wrong with it; empty: nothing."""
    once = {"idempotency-key": f"recovery-{edge}-{number}"}
    degraded = ""
    async with organization.async_client(edge) as http:
        try:
            for what, stream, headers in (("plain", False, {}), ("streamed", True, {}), ("once", False, once)):
                body = {"prompt": f"Is all well, {edge}, {number}, {what}?", "stream": stream, "max_tokens": 200}
                answer = await http.post("/infer", json=body, headers=headers, timeout=5.0)
                well = answer.status_code == 200 and "event: error" not in answer.text
                yield what, "" if well else f"{answer.status_code} {answer.text[-200:]}"
                degraded = degraded or answer.headers.get("x-asahi-degraded", "")
            yield "whole", f"without {degraded}" if degraded else ""
            health = (await http.get("/health")).json()
            yield "health", "" if health["status"] == "healthy" else str(health["components"])
        except httpx2.TransportError as error:
            yield "health", type(error).__name__


def _strange(book: ClientsBook, schedule: Schedule) -> list[str]:
    """What callers saw, and the degrade table does not allow for what was broken."""
    allowed = set(_ALWAYS)
    for fault in schedule.faults:
        allowed |= _BY_KIND.get(fault.kind, set())
        if fault.target == "router>provider":
            allowed |= _BY_KIND["provider"]
    wrong = []
    for what, times in book.seen.items():
        kind = what.removeprefix("own key ").removeprefix("governance ")
        if kind not in allowed and not (kind != what and kind in _MAY_HAVE_BEEN_DONE):
            wrong.append(f"callers saw {what} {times} times")
    return wrong


async def _look_once_more(organizations: _Organizations, book: ClientsBook) -> list[str]:
    """Rights, policy and cache after all is well again."""
    wrong = []
    async with traffic.client_of(organizations.one, book, Random(0)) as client:
        for key in book.revoked:
            for edge in EDGES:
                came = await client.ask(edge, "/infer", {"prompt": "Am I gone?"}, {"authorization": f"Bearer {key}"})
                if came != "401:invalid_api_key":
                    wrong.append(f"a revoked key got {came} at {edge}")
    async with organizations.other.async_client() as http:
        policy = (await http.get(f"/governance/policies/{organizations.other.id}")).json()
    written = policy.get("data", policy)["default_max_output_tokens"] - 1000
    if book.policy_sent and not book.policy_written <= written <= book.policy_sent:
        wrong.append(f"the policy says {written}; {book.policy_written} was acknowledged, {book.policy_sent} sent last")
    by_id = {one.id: one for one in (organizations.one, organizations.other)}
    for organization_id, question in sorted(book.common):
        async with traffic.client_of(by_id[organization_id], book, Random(0)) as client:
            for edge in EDGES:
                came = await client.ask(edge, "/infer", {"prompt": question, "stream": False})
                if came != "200":
                    wrong.append(f"{question!r} got {came} at {edge} when all was well again")
    return wrong


async def _books(machine: Machine, organizations: _Organizations, book: ClientsBook) -> Books:
    """The books once every call has its record, or too late."""
    deadline = time.monotonic() + _BOOKS_AGREE_WITHIN_S
    while True:
        calls = await asyncio.to_thread(machine.control.calls)
        records = await machine.records(organizations.ids)
        for row in records:
            tags = row["tags"] if isinstance(row["tags"], dict) else json.loads(row["tags"] or "{}")
            row["key"] = tags.get("key", "")
        recorded = {(row["request_id"], row["attempt"]) for row in records}
        ended = all(call["outcome"] != "under_way" for call in calls)
        if ended and all((call["request_id"], int(call["attempt"])) in recorded for call in calls):
            break
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.25)
    return Books(book, calls, records)


def _overrun(books: Books, organizations: _Organizations) -> list[str]:
    """A budget that was spent beyond its limit, by the ledger, or by the provider's count of what is no estimate."""
    rows = [row for row in books.records if row["organization_id"] == organizations.budgeted.id]
    spent = sum(row["cost_nanos"] for row in rows)
    if spent > organizations.limit_nanos:
        return [f"{dollars(spent)} $ were spent of a budget of {dollars(organizations.limit_nanos)} $"]
    return []


async def _ledger_faults(machine: Machine, organizations: _Organizations) -> list[str]:
    """Holds that are left when all leases have ended, and totals that are not the sum of their entries."""
    target = f"127.0.0.1:{machine.installation['billing'].grpc_port}"
    machine.let_leases_end()
    deadline = time.monotonic() + _HOLDS_END_WITHIN_S
    wrong: list[str] = []
    async with ServiceChannel("billing", target, _BILLING, timeout_s=10.0) as channel:
        for organization_id in organizations.ids:
            found = pb.CheckLedgerResponse(open_holds=-1)
            while time.monotonic() < deadline:
                try:
                    request = pb.CheckLedgerRequest(organization_id=organization_id)
                    found = await BillingServiceStub(channel).CheckLedger(request)
                except AsahiError as error:
                    wrong.append(f"the ledger cannot be checked: {error.message}")
                    break
                if not found.open_holds:
                    break
                await asyncio.sleep(0.1)
            if found.open_holds:
                wrong.append(f"{found.open_holds} holds are left")
            wrong += [f"the ledger breaks: {one.figure} {one.place}" for one in found.breaks]
    return wrong


def _set_budget(organization: Organization, limit_usd: float) -> None:
    budget: dict[str, Any] = {"per": "organization", "window": "month", "limit_usd": limit_usd, "action": "block"}
    with organization.client() as client:
        client.post(f"/governance/policies/{organization.id}", json={"budgets": [budget]}).raise_for_status()
