"""Clients that leave in the midst of an answer that may not be cached: what is billed against what was generated.

`python -m tests.leaving --calls 500` prints the difference in sum, plain and streamed.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

_LEARNED_FROM = 12
_AT_ONCE = 8
_PACE = {"mode": "slow", "params": {"first_token_ms": 100, "tokens_per_second": 150}}


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
    for _ in range(300):
        records = call_records(organization.installation.data, organization.id)
        if len(records) == calls:
            return records
        await asyncio.sleep(0.1)
    raise AssertionError(f"the ledger has {len(records)} records of provider calls, expected {calls}")


async def leave_many(running: Installation, calls: int, *, stream: bool) -> tuple[list[dict[str, Any]], list[Any]]:
    """The ledger's records and the provider's log of so many calls whose clients left in the midst."""
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules(_PACE)
    organization = running.signup()
    random = Random(7)
    async with organization.async_client() as client:
        for number in range(_LEARNED_FROM):
            await client.post("/infer", json={"prompt": f"Learn from this, number {number}.", "stream": stream})
        await settled(organization, _LEARNED_FROM)
        control.reset()
        control.rules(_PACE)
        client.headers["cache-control"] = "no-store"
        places = asyncio.Semaphore(_AT_ONCE)

        async def leave(number: int) -> None:
            async with places:
                body: dict[str, object] = {"prompt": f"I leave early, number {number}.", "stream": stream}
                await leave_after(client, random.uniform(0.3, 0.45), body)

        await asyncio.gather(*(leave(number) for number in range(calls)))
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
    with tempfile.TemporaryDirectory() as folder, running_installation(Path(folder) / "data") as running:
        for stream in (True, False):
            over_in, over_out = difference(*asyncio.run(leave_many(running, calls, stream=stream)))
            kind = "streamed" if stream else "plain"
            print(f"{kind}: {calls} calls given up; billed input {over_in:+.2%}, output {over_out:+.2%}", flush=True)


if __name__ == "__main__":
    main()
