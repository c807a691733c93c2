"""A budget that more ask for than it has money for: two edges, PostgreSQL, callers who try again until it is spent.

`python -m tests.budgets` asks 100 times at once for a budget of 20 answers, first with nothing in the way, then with
30 % of the callers leaving, 10 % of the provider's calls failing, and billing killed meanwhile. Exit code 1 if what is
spent and held was ever above the limit, if the provider counted more than the limit, if less than 90 % of it was used,
if an answer cost more than its own budget, or if a hold is left.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import psycopg

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi.type.v1.usage_pb2 import Usage
from asahi_core.money import NANOS_PER_DOLLAR, dollars
from asahi_core.prices import load_price_book
from asahi_core.rpc.channel import ServiceChannel
from tests.installation import Installation, Organization, running_installation
from tests.postgresql import postgresql
from tests.simulator import SimulatorControl

EDGES = ("edge", "edge2")
MODEL = "gpt-4.1-nano"
MAX_TOKENS = 400
LEAST_USED = 0.9
_INPUT_TOKENS = 20
"""About what a question has."""
_COST_BUDGET_USD = 0.0005
_GUARD_S = 120.0
_NO_HOLDS_WITHIN_S = 30.0
_WATCH_S = 0.01
_BILLING = pb.DESCRIPTOR.services_by_name["BillingService"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What gets in the way."""

    leaving: float = 0.0
    """Share of callers who leave while they wait."""
    failing: float = 0.0
    """Share of the provider's calls that fail."""
    kills: int = 0
    """How often billing is killed."""


@dataclass(slots=True)
class Outcome:
    """What came of it; amounts in nano-dollars."""

    limit: int
    seen: Counter[str] = field(default_factory=Counter)
    dearest: int = 0
    """What the dearest answer cost."""
    most_taken: int = 0
    """The most that was spent and held together, as PostgreSQL ever told it."""
    looks: int = 0
    spent: int = 0
    """What the ledger says in the end."""
    provider: int = 0
    """What the provider counted."""
    reserved: int = -1
    open_holds: int = -1
    breaks: int = -1

    @property
    def faults(self) -> list[str]:
        """What is wrong, a line each."""
        expected = {"200", "429:insufficient_quota", "429:budget_reserved", "left", "503:service_unavailable"}
        found = [f"callers saw {what} {n} times" for what, n in self.seen.items() if what not in expected]
        if self.most_taken > self.limit:
            found.append(f"{dollars(self.most_taken)} $ were spent and held at once")
        if self.provider > self.limit or self.spent > self.limit:
            found.append(f"more than the limit was spent: {dollars(max(self.provider, self.spent))} $")
        if self.spent < LEAST_USED * self.limit:
            found.append(f"only {self.spent / self.limit:.1%} of the limit were used")
        if self.dearest > _COST_BUDGET_USD * NANOS_PER_DOLLAR:
            found.append(f"an answer cost {dollars(self.dearest)} $, more than its own budget")
        if self.reserved or self.open_holds or self.breaks:
            found.append(f"{self.open_holds} holds of {self.reserved} nano-dollars are left, {self.breaks} breaks")
        return found

    def __str__(self) -> str:
        return (
            f"limit {dollars(self.limit)} $: spent {self.spent / self.limit:.1%}, by the provider's count "
            f"{self.provider / self.limit:.1%}; spent and held never above {self.most_taken / self.limit:.1%} "
            f"({self.looks} looks); holds left {self.open_holds}, breaks {self.breaks}; dearest answer "
            f"{dollars(self.dearest)} $ of {_COST_BUDGET_USD} $; {dict(sorted(self.seen.items()))}"
        )


def cost_nanos(input_tokens: int, output_tokens: int, *, cached_tokens: int = 0) -> int:
    """What so many tokens of the model cost."""
    usage = Usage(input_tokens=input_tokens, cache_read_tokens=cached_tokens, output_tokens=output_tokens)
    nanos = load_price_book().cost_nanos(MODEL, usage, datetime.now(UTC))
    assert nanos is not None
    return nanos


def set_budget(organization: Organization, limit_nanos: int) -> None:
    """Limits what the organisation spends in a month."""
    limit = {"per": "organization", "window": "month", "limit_usd": float(dollars(limit_nanos)), "action": "block"}
    for edge in EDGES:
        with organization.client(edge) as client:
            client.post("/infer", json={"prompt": "Are you there?"}).raise_for_status()
            # What was spent before is not to count: billing has it when the edge has told.
            client.get("/analytics/cost-summary").raise_for_status()
    with organization.client() as client:
        answer = client.post(f"/governance/policies/{organization.id}", json={"budgets": [limit]})
    assert answer.status_code == 200, answer.text


async def ask_until_spent(
    client: httpx2.AsyncClient, number: int, outcome: Outcome, random: Random, trouble: Trouble
) -> None:
    """One caller: asks until there is an answer or no money, unless it leaves."""
    body = {
        "prompt": f"Question {number}: what does a river say to the sea?",
        "routing_mode": "explicit",
        "model_override": MODEL,
        "max_tokens": MAX_TOKENS,
        "cost_budget": _COST_BUDGET_USD,
    }
    leaves_after_s = random.uniform(0.02, 1.0) if random.random() < trouble.leaving else None
    deadline = time.monotonic() + _GUARD_S
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout(leaves_after_s):
                answer = await client.post("/infer", json=body)
        except TimeoutError:
            outcome.seen["left"] += 1
            return
        if answer.status_code == 200:
            outcome.seen["200"] += 1
            outcome.dearest = max(outcome.dearest, round(answer.json()["cost"] * NANOS_PER_DOLLAR))
            return
        code = answer.json()["error"]["code"]
        outcome.seen[f"{answer.status_code}:{code}"] += 1
        if answer.headers.get("x-should-retry") == "false":
            return
        await asyncio.sleep(int(answer.headers["retry-after-ms"]) / 1000 * random.uniform(0.2, 1.0))
    outcome.seen["gave up"] += 1


async def watch(database: str, organization: Organization, outcome: Outcome, stop: asyncio.Event) -> None:
    """Notes the most that was ever spent and held, until `stop`."""
    query = "SELECT coalesce(max(spent_nanos + reserved_nanos), 0) FROM budget_accounts WHERE organization_id = %s"
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while not stop.is_set():
            cursor = await connection.execute(query, (organization.id,))
            row = await cursor.fetchone()
            outcome.most_taken = max(outcome.most_taken, int(row[0]) if row else 0)
            outcome.looks += 1
            await asyncio.sleep(_WATCH_S)


async def kill_billing(running: Installation, times: int, random: Random) -> None:
    """Kills billing at random instants and starts it again."""
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.3, 1.2))
        await asyncio.to_thread(_kill_and_restart, running)


async def spend(running: Installation, database: str, *, callers: int, answers: int, trouble: Trouble) -> Outcome:
    """All callers at once against a budget of so many answers."""
    random = Random(1)
    outcome = Outcome(limit=answers * cost_nanos(_INPUT_TOKENS, MAX_TOKENS))
    organization = running.signup("Budgets")
    set_budget(organization, outcome.limit)
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules(
        {"mode": "status", "probability": trouble.failing, "params": {"status": 500}},
        {
            "mode": "answer",
            "params": {"answer_tokens": 10 * MAX_TOKENS, "first_token_ms": 100, "tokens_per_second": 800},
        },
    )
    stop = asyncio.Event()
    watching = asyncio.create_task(watch(database, organization, outcome, stop))
    killing = asyncio.create_task(kill_billing(running, trouble.kills, random))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(organization.async_client(edge)) for edge in EDGES]
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                client = clients[number % len(clients)]
                group.create_task(ask_until_spent(client, number, outcome, Random(f"{number}"), trouble))
    await killing
    await _look_at_the_end(running, organization, outcome)
    stop.set()
    await watching
    outcome.provider = sum(
        cost_nanos(
            call["prompt_tokens"] - call["cached_tokens"],
            call["completion_tokens"],
            cached_tokens=call["cached_tokens"],
        )
        for call in control.calls()
    )
    return outcome


def budgeted_environment(database: str) -> dict[str, dict[str, str]]:
    """What billing needs to keep its books in PostgreSQL; nobody takes a busy machine's cache for a broken one."""
    return {"billing": {"DATABASE_URL": database}, "edge": {"ASAHI_CACHE_TIMEOUT_SECONDS": "10"}}


async def _look_at_the_end(running: Installation, organization: Organization, outcome: Outcome) -> None:
    """Waits until nothing is held any more, then reads the books."""
    target = f"127.0.0.1:{running['billing'].grpc_port}"
    async with ServiceChannel("billing", target, _BILLING, timeout_s=_GUARD_S) as channel:
        billing = BillingServiceStub(channel)
        deadline = time.monotonic() + _NO_HOLDS_WITHIN_S
        while True:
            found = await billing.CheckLedger(pb.CheckLedgerRequest(organization_id=organization.id))
            outcome.open_holds, outcome.breaks = found.open_holds, len(found.breaks)
            if not found.open_holds or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
    left = await asyncio.to_thread(_usage, organization)
    (standing,) = left["budgets"]
    outcome.spent = round(standing["spent"] * NANOS_PER_DOLLAR)
    outcome.reserved = round(standing["reserved"] * NANOS_PER_DOLLAR)


def _usage(organization: Organization) -> dict[str, Any]:
    with organization.client() as client:
        answer = client.get("/governance/usage")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def _kill_and_restart(running: Installation) -> None:
    running["billing"].kill()
    running["billing"].start()
    running["billing"].wait_ready()


async def _run(running: Installation, database: str, callers: int, answers: int) -> bool:
    fine = True
    for name, trouble in (
        ("undisturbed", Trouble()),
        ("30 % leave, 10 % of calls fail, billing killed", Trouble(leaving=0.3, failing=0.1, kills=4)),
    ):
        outcome = await spend(running, database, callers=callers, answers=answers, trouble=trouble)
        print(f"{name}: {outcome}", flush=True)
        for fault in outcome.faults:
            print(f"  WRONG: {fault}", flush=True)
        fine = fine and not outcome.faults
    return fine


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=100, help="who ask at once")
    parser.add_argument("--answers", type=int, default=20, help="answers that the budget is enough for")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asahi-budgets-") as folder, postgresql() as server:
        database = server.create_database("billing")
        environment = budgeted_environment(database)
        with running_installation(Path(folder), edges=len(EDGES), environment=environment) as running:
            return 0 if asyncio.run(_run(running, database, options.callers, options.answers)) else 1


if __name__ == "__main__":
    sys.exit(main())
