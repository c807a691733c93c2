"""Identical requests at two edges, attached to two replicas of the cache service on one Redis.

`python -m tests.shared_flights` has 200 ask at once, which must make one provider call; then kills the edge that leads
a flight at random instants, and a fifth as often the replica that it is attached to: whoever waits at the other edge
and was sent nothing is answered, with two calls at most.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from tests.installation import Installation, Organization, free_port, running_installation
from tests.redis_server import redis_server
from tests.simulator import SimulatorControl

EDGES = ("edge", "edge2")
_ANSWER = {"first_token_ms": 300, "tokens_per_second": 100, "answer_tokens": 40}
_LASTS_S = 0.8
"""How long such an answer takes, with room for a busy machine."""
_LEAD_S = 0.1
_FOLLOWERS = 10
_ROUNDS = 5
_FAILURES = "asahi_cache_redis_failures_total "


@dataclass(frozen=True, slots=True)
class Told:
    """What one caller was told."""

    streamed: bool
    text: str = ""
    """The answer; empty: there was none."""
    pieces: int = 0
    """Pieces of it that came before the end."""
    error: str = ""
    """Code of the error that it ended with."""


@contextmanager
def two_of_each() -> Iterator[Installation]:
    """Two edges, two replicas of the cache, Redis; the simulator never answers twice alike."""
    with tempfile.TemporaryDirectory(prefix="asahi-flights-") as folder, redis_server() as server:
        environment: Mapping[str, Mapping[str, str]] = {
            "cache": {"REDIS_URL": server.url, "ASAHI_METRICS_ADDRESS": f"127.0.0.1:{free_port()}"},
            "cache2": {"ASAHI_METRICS_ADDRESS": f"127.0.0.1:{free_port()}"},
            "simulator": {"ASAHI_SIMULATOR_DETERMINISTIC": "false"},
            "edge": {"ASAHI_ORPHAN_SETTLE_SECONDS": "2"},
        }
        with running_installation(Path(folder), edges=2, caches=2, environment=environment) as running:
            yield running


async def ask(client: httpx2.AsyncClient, prompt: str, *, streamed: bool) -> Told:
    """Asks once, plain or for a stream."""
    body = {"prompt": prompt, "stream": streamed}
    if not streamed:
        answer = await client.post("/infer", json=body)
        found = answer.json()
        return Told(False, found.get("response", ""), error=found.get("error", {}).get("code", ""))
    text, pieces, event, last = "", 0, "", dict[str, Any]()
    async with client.stream("POST", "/infer", json=body) as answer:
        if answer.status_code != 200:
            return Told(True, error=json.loads(await answer.aread())["error"]["code"])
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                last = json.loads(line[6:])
                if event == "delta":
                    text, pieces = text + last["text"], pieces + 1
    return Told(True, text if event == "done" else "", pieces, last.get("error", {}).get("code", ""))


def slow_answers(running: Installation) -> SimulatorControl:
    """The simulator, without calls so far, answering slowly enough for requests to meet."""
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules({"mode": "slow", "params": _ANSWER})
    return control


def redis_failures(running: Installation) -> float:
    """Calls of Redis that came late or not at all, at both replicas: a busy machine makes some."""
    failed = 0.0
    for name in ("cache", "cache2"):
        text = httpx2.get(
            f"http://{running[name].environment['ASAHI_METRICS_ADDRESS']}/metrics", timeout=10.0, verify=False
        ).text
        failed += next(float(line.split()[1]) for line in text.splitlines() if line.startswith(_FAILURES))
    return failed


async def identical(running: Installation, organization: Organization, count: int, prompt: str) -> list[str]:
    """`count` identical requests at once, every other one at the other edge, half of them streamed; what is wrong.

    A round in which Redis came late is repeated: then each replica has a flight of its own, as it should.
    """
    for number in range(_ROUNDS):
        failures = redis_failures(running)
        wrong = await _round(running, organization, count, f"{prompt} [{number}]")
        if not wrong or redis_failures(running) == failures:
            return wrong
        print(f"repeated, Redis came late: {wrong}")
    return wrong


async def _round(running: Installation, organization: Organization, count: int, prompt: str) -> list[str]:
    control = slow_answers(running)
    async with organization.async_client("edge") as one, organization.async_client("edge2") as two:
        asking = [ask((one, two)[n % 2], prompt, streamed=n // 2 % 2 == 1) for n in range(count)]
        told = await asyncio.gather(*asking)
    calls = len(control.calls())
    wrong = [f"{one}" for one in told if not one.text]
    if len({one.text for one in told}) != 1:
        wrong.append("not all were told the same")
    if calls != 1:
        wrong.append(f"{calls} provider calls")
    return wrong


async def kill_the_lead(
    running: Installation, organization: Organization, instant_s: float, prompt: str, victim: str = "edge"
) -> list[str]:
    """Kills the edge whose request leads, or its replica of the cache, some time after others followed; what is wrong.

    `instant_s` is that time. The others ask at the other edge, which is attached to the other replica.
    """
    control = slow_answers(running)
    async with organization.async_client("edge") as one, organization.async_client("edge2") as two:
        leading = asyncio.create_task(ask(one, prompt, streamed=True))
        await asyncio.sleep(_LEAD_S)
        following = [asyncio.create_task(ask(two, prompt, streamed=n % 2 == 1)) for n in range(_FOLLOWERS)]
        await asyncio.sleep(instant_s)
        await asyncio.to_thread(running[victim].kill)
        told = await asyncio.gather(*following)
        (led,) = await asyncio.gather(leading, return_exceptions=True)
    calls = len(control.calls())
    await asyncio.to_thread(running.start)
    wrong = [f"{one}" for one in told if not one.text and not (one.pieces and one.error == "upstream_interrupted")]
    if victim != "edge" and (isinstance(led, BaseException) or not led.text):
        wrong.append(f"the lead was told {led}")
    if calls > 2:
        wrong.append(f"{calls} provider calls")
    ends = Counter("answered" if one.text else f"{one.error} after {one.pieces} pieces" for one in told)
    fault = f"; WRONG: {wrong}" if wrong else ""
    print(f"{victim} killed after {instant_s:.3f} s: {calls} calls, {dict(ends)}{fault}")
    return wrong


async def _run(running: Installation, instants: int, seed: int) -> bool:
    organization, random = running.signup("Flights"), Random(seed)
    wrong: list[str] = []
    for round_number in range(5):
        found = await identical(running, organization, 200, f"What is coalescing? ({round_number})")
        print(f"200 identical requests, round {round_number + 1}: {found or 'one provider call, one answer'}")
        wrong += found
    for number in range(instants):
        instant_s = random.uniform(0, _LASTS_S)
        wrong += await kill_the_lead(running, organization, instant_s, f"Who survives? ({seed}/{number})")
    for number in range(instants // 5):
        instant_s = random.uniform(0, _LASTS_S)
        prompt = f"Who survives the replica? ({seed}/{number})"
        wrong += await kill_the_lead(running, organization, instant_s, prompt, "cache")
    print(f"{instants} kills, seed {seed}: {len(wrong)} faults")
    return not wrong


def main() -> int:
    """Runs the rig; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=50, help="how often the edge that leads is killed")
    parser.add_argument("--seed", type=int, default=1, help="of the instants")
    options = parser.parse_args()
    with two_of_each() as running:
        return 0 if asyncio.run(_run(running, options.instants, options.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
