"""Requests with an `Idempotency-Key`, repeated by several callers while edge, cache and router are killed under them.

`python -m tests.once --instants 60 --seed 1`. Exit code 1 if a key had two answers, or more than one settled call for
itself or for a step of its workflow, or if a repeat got anything else in the end than the whole answer or 409
`idempotency_replay_unavailable`.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

EDGES = ("edge", "edge2")
VICTIMS = ("edge", "cache", "router", "edge2")
_REPEATERS = 4
_AT_ONCE = 3
_PAUSE_S = (0.2, 0.9)
_TRIES = 200
_UNAVAILABLE = "no answer is kept"
_FINE = {"200", _UNAVAILABLE}
"""How a repeat may end."""
_PASSING = {"503", "cut"}
"""What is answered by asking again."""
_ENDS = {
    "/infer": b"event: done",
    "/v1/chat/completions": b"data: [DONE]",
    "/v1/messages": b"event: message_stop",
    "/v1/responses": b"event: response.completed",
}
_PATHS: dict[str, dict[str, Any]] = {
    "/infer": {},
    "/v1/chat/completions": {},
    "/v1/messages": {"max_tokens": 200},
    "/v1/responses": {},
}
_NAMED = {"/infer": "prompt", "/v1/responses": "input"}
"""Where a path takes the question as a text."""

_STEPS = [
    {"id": "one", "prompt": "First of {{prompt}}"},
    {"id": "two", "prompt": "Second of {{prompt}}"},
    {"id": "both", "prompt": "{{one}} {{two}}", "depends_on": ["one", "two"]},
]
"""Each is a call of its own."""
_ATTEMPTS_OF_A_STEP = 1000


@dataclass(slots=True)
class Seen:
    """What became of the keys."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """How the repeats of all keys ended."""
    passing: Counter[str] = field(default_factory=Counter)
    answers: defaultdict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """The whole answers of each key."""
    keys: int = 0


@dataclass(frozen=True, slots=True)
class _Purpose:
    """One thing that is to be done once."""

    key: str
    path: str
    body: dict[str, Any]

    async def ask(self, client: httpx2.AsyncClient) -> tuple[str, bytes]:
        """How one try ended, and the answer."""
        headers = {"idempotency-key": self.key, "x-asahi-tags": f"key={self.key}", "x-asahi-cache": "off"}
        try:
            answer = await client.post(self.path, json=self.body, headers=headers)
        except (httpx2.TransportError, httpx2.StreamError):
            return "cut", b""
        if answer.status_code != 200:
            unavailable = answer.status_code == 409 and "is not kept" in answer.json()["error"]["message"]
            return _UNAVAILABLE if unavailable else str(answer.status_code), b""
        if self.body["stream"] and _ENDS[self.path] not in answer.content:
            return "cut", b""
        return "200", answer.content


def _purposes(random: Random) -> Iterator[_Purpose]:
    for number in itertools.count(1):
        path = random.choice(list(_PATHS))
        text = f"Question {number} of {random.getrandbits(40)}"
        if path == "/infer" and random.random() < 0.5:
            yield _Purpose(f"key-{number}", path, {"prompt": text, "steps": _STEPS, "stream": random.random() < 0.5})
            continue
        asked = {_NAMED[path]: text} if path in _NAMED else {"messages": [{"role": "user", "content": text}]}
        yield _Purpose(f"key-{number}", path, {**asked, **_PATHS[path], "stream": random.random() < 0.5})


async def _repeat(purpose: _Purpose, clients: Sequence[httpx2.AsyncClient], random: Random, seen: Seen) -> None:
    """One caller: asks until the answer, or the word that there is none, has come."""
    await asyncio.sleep(random.uniform(0, 0.3))
    for _ in range(_TRIES):
        outcome, answer = await purpose.ask(random.choice(clients))
        if outcome not in _PASSING:
            break
        seen.passing[outcome] += 1
        await asyncio.sleep(random.uniform(0.05, 0.3))
    seen.outcomes[outcome] += 1
    if outcome == "200":
        seen.answers[purpose.key].add(answer)


async def _work(organization: Organization, seed: int, seen: Seen, stop: asyncio.Event) -> None:
    """Some keys at a time, each repeated by several callers, until `stop`."""
    random = Random(seed)
    purposes = _purposes(random)
    async with organization.async_client(EDGES[0]) as one, organization.async_client(EDGES[1]) as other:

        async def one_after_the_other(own: Random) -> None:
            while not stop.is_set():
                purpose = next(purposes)
                seen.keys += 1
                await asyncio.gather(*(_repeat(purpose, (one, other), own, seen) for _ in range(_REPEATERS)))

        await asyncio.gather(*(one_after_the_other(Random(f"{seed}/{n}")) for n in range(_AT_ONCE)))


async def kill_under_keys(data: Path, instants: int, seed: int) -> list[str]:
    """Kills services so often under requests with keys; what is wrong."""
    environment = {"edge": {"ASAHI_ORPHAN_SETTLE_SECONDS": "5"}}
    with running_installation(data, edges=len(EDGES), environment=environment) as installation:
        control = SimulatorControl(installation.url_of("simulator"))
        control.rules({"mode": "slow", "params": {"first_token_ms": 100, "tokens_per_second": 400}})
        organization = installation.signup("Once")
        seen, stop, random = Seen(), asyncio.Event(), Random(seed)
        working = asyncio.create_task(_work(organization, seed, seen, stop))
        for number in range(instants):
            await asyncio.sleep(random.uniform(*_PAUSE_S))
            await asyncio.to_thread(_kill_and_restart, installation, VICTIMS[number % len(VICTIMS)])
        stop.set()
        await working
        return await _faults(installation, organization, control, seen)


def _kill_and_restart(installation: Installation, victim: str) -> None:
    installation[victim].kill()
    installation[victim].start()
    installation[victim].wait_ready()


async def _faults(
    installation: Installation, organization: Organization, control: SimulatorControl, seen: Seen
) -> list[str]:
    called = {(call["request_id"], call["attempt"]) for call in control.calls()}
    for _ in range(120):
        records = call_records(installation.data, organization.id)
        if called <= {(record["request_id"], str(record["attempt"])) for record in records}:
            break
        await asyncio.sleep(0.5)
    settled: Counter[tuple[str, int]] = Counter()
    orphans = 0
    for record in records:
        orphans += record["orphan"]
        step = record["attempt"] // _ATTEMPTS_OF_A_STEP
        settled[json.loads(record["tags"])["key"], step] += not record["orphan"]
    wrong = [f"repeats ended {n} times with {what}" for what, n in seen.outcomes.items() if what not in _FINE]
    wrong += [f"{key} had {len(answers)} answers" for key, answers in seen.answers.items() if len(answers) > 1]
    wrong += [f"{key} had {n} settled calls for step {step}" for (key, step), n in settled.items() if n > 1]
    missing = called - {(record["request_id"], str(record["attempt"])) for record in records}
    wrong += [f"no record of the provider's call {attempt} for request {one}" for one, attempt in missing]
    print(
        f"{seen.keys} keys, {_REPEATERS} callers each: {dict(seen.outcomes)}, asked again after {dict(seen.passing)}; "
        f"{len(called)} calls at the provider, {len(records)} records, {orphans} orphans; {len(wrong)} faults",
        flush=True,
    )
    return wrong


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=60, help="kills")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's instants and questions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asahi-once-") as folder:
        wrong = asyncio.run(kill_under_keys(Path(folder) / "data", options.instants, options.seed))
    for fault in wrong:
        print(f"  WRONG: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
