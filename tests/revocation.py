"""Keys revoked, and organisations suspended, while two edges answer 200 requests a second on them.

`python -m tests.revocation` prints how long after the answer a request was sent that was still admitted; exit code 1 if
that is more than a second, or if an answer is neither an answer nor the refusal.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.installation import ADMIN_SECRET, Installation, Organization, running_installation

EDGES = ("edge", "edge2")
WITHIN_S = 1.0
_BEFORE_S = 1.0
_AFTER_S = 2.5
ACTS = {"revoke": 401, "suspend": 403}
"""What is done, and the status of every request after it."""


@dataclass(slots=True)
class Outcome:
    """What came of requests before and after the act was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    admitted_before: int = 0
    admitted_after: int = 0
    latest_s: float = 0.0
    """How long after the answer the last request was sent that was admitted; 0: none was."""


async def round_of(installation: Installation, act: str, per_second: float, after_s: float = _AFTER_S) -> Outcome:
    """Asks on a new key at an even pace through both edges in turn, and takes its right away meanwhile."""
    organization = installation.signup()
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    answered_at = loop.time() + 1e9

    async def ask(client: httpx2.AsyncClient) -> None:
        sent_at = loop.time()
        status = (await client.post("/infer", json={"prompt": "What is 6 times 7?"})).status_code
        outcome.statuses[status] += 1
        if status == 200:
            after = sent_at - answered_at
            outcome.admitted_before += after <= 0
            outcome.admitted_after += after > 0
            outcome.latest_s = max(outcome.latest_s, after)

    async def take_away() -> None:
        nonlocal answered_at
        await asyncio.sleep(_BEFORE_S)
        await _act(installation, organization, act)
        answered_at = loop.time()

    started = loop.time()
    async with (
        organization.async_client(EDGES[0]) as one,
        organization.async_client(EDGES[1]) as other,
        asyncio.TaskGroup() as group,
    ):
        clients = (one, other)
        taking = group.create_task(take_away())
        number = 0
        while not taking.done() or loop.time() < answered_at + after_s:
            await asyncio.sleep(max(0.0, started + number / per_second - loop.time()))
            group.create_task(ask(clients[number % len(clients)]))
            number += 1
    return outcome


async def _act(installation: Installation, organization: Organization, act: str) -> None:
    operator = {"x-admin-secret": ADMIN_SECRET}
    async with httpx2.AsyncClient(base_url=installation.url, headers=operator, timeout=30.0, verify=False) as client:
        if act == "revoke":
            path = f"/governance/api-keys/{organization.key_id}"
            answer = await client.delete(path, params={"organization_id": organization.id})
        else:
            answer = await client.post(f"/governance/organizations/{organization.id}/suspend")
    assert answer.is_success, answer.text


async def _run(installation: Installation, rounds: int, per_second: float) -> bool:
    fine = True
    for act, refusal in ACTS.items():
        outcomes = [await round_of(installation, act, per_second) for _ in range(rounds)]
        statuses = sum((outcome.statuses for outcome in outcomes), Counter[int]())
        latest_s = max(outcome.latest_s for outcome in outcomes)
        late = sum(outcome.admitted_after for outcome in outcomes)
        right = latest_s <= WITHIN_S and statuses.keys() == {200, refusal}
        fine &= right
        print(
            f"{act}, {rounds} times at {per_second:g} requests/s: {late} admitted after the answer, "
            f"the last sent {latest_s * 1000:.0f} ms after it; answers {dict(statuses)}; {'fine' if right else 'WRONG'}"
        )
    return fine


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each right is taken away")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second on the key")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-revocation-") as folder,
        running_installation(Path(folder), edges=len(EDGES)) as installation,
    ):
        return 0 if asyncio.run(_run(installation, options.rounds, options.rate)) else 1


if __name__ == "__main__":
    sys.exit(main())
