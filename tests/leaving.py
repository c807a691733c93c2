"""Clients that leave in the midst of an answer that may not be cached: what is billed against what was generated.

`python -m tests.leaving --calls 500` prints the difference in sum, plain and streamed; exit code 1 if it is over 2 %.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

_TOLERANCE = 0.02
_LEARNED_FROM = 20
_AT_ONCE = 30
_LEAVING_S = (0.8, 3.0)
_PACE = {"first_token_ms": 300, "tokens_per_second": 60}
_WHOLE = {"mode": "slow", "params": _PACE}
_LONG = {"mode": "slow", "params": {**_PACE, "answer_tokens": 400}}
_WORDS = ("river", "garden", "of", "the", "slowly", "mountain", "because", "seven", "letters", "window", "and", "rain")


async def leave_after(client: httpx2.AsyncClient, seconds: float, body: dict[str, object]) -> None:
    """Asks, and hangs up after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await client.post("/infer", json=body)
    except TimeoutError:
        return
    raise AssertionError("the answer came before the client left")


async def settled(organization: Organization, calls: int) -> list[dict[str, Any]]:
    """The ledger's records of provider calls, once all are there."""
    records: list[dict[str, Any]] = []
    for _ in range(1200):
        records = call_records(organization.installation.data, organization.id)
        if len(records) == calls:
            return records
        await asyncio.sleep(0.1)
    raise AssertionError(f"the ledger has {len(records)} records of provider calls, expected {calls}")


async def leave_many(running: Installation, calls: int, *, stream: bool) -> tuple[list[dict[str, Any]], list[Any]]:
    """The ledger's records and the provider's log of so many calls whose clients left in the midst.

    Before, some whole answers come, from which the estimates learn.
    """
    control = SimulatorControl(running.url_of("simulator"))
    organization = running.signup()
    random = Random(7)

    def question() -> dict[str, object]:
        return {"prompt": " ".join(random.choices(_WORDS, k=random.randint(5, 80))), "stream": stream}

    async with organization.async_client() as client:
        control.rules(_WHOLE)
        await asyncio.gather(*(client.post("/infer", json=question()) for _ in range(_LEARNED_FROM)))
        await settled(organization, _LEARNED_FROM)
        control.reset()
        control.rules(_LONG)
        client.headers["cache-control"] = "no-store"
        places = asyncio.Semaphore(_AT_ONCE)

        async def leave() -> None:
            async with places:
                await leave_after(client, random.uniform(*_LEAVING_S), question())

        await asyncio.gather(*(leave() for _ in range(calls)))
        records = (await settled(organization, _LEARNED_FROM + calls))[_LEARNED_FROM:]
    return records, control.calls()


def difference(records: list[dict[str, Any]], calls: list[Any]) -> tuple[float, float]:
    """By how much the sums of input and output tokens billed are over what the provider counted, as shares of it."""
    asked = sum(call["prompt_tokens"] for call in calls)
    said = sum(call["completion_tokens"] for call in calls)
    billed_in = sum(record["input_tokens"] + record["cache_read_tokens"] for record in records)
    billed_out = sum(record["output_tokens"] for record in records)
    return billed_in / asked - 1, billed_out / said - 1


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500, help="calls of each kind")
    calls = parser.parse_args().calls
    most = 0.0
    with tempfile.TemporaryDirectory() as folder, running_installation(Path(folder) / "data") as running:
        for stream in (True, False):
            over_in, over_out = difference(*asyncio.run(leave_many(running, calls, stream=stream)))
            most = max(most, abs(over_in), abs(over_out))
            kind = "streamed" if stream else "plain"
            print(f"{kind}: {calls} calls given up; billed input {over_in:+.2%}, output {over_out:+.2%}", flush=True)
    sys.exit(most > _TOLERANCE)


if __name__ == "__main__":
    main()
