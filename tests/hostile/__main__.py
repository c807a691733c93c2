"""`python -m tests.hostile --bodies 200000`: wrong bodies to every path and method, then connections that mean no good.

Exit code 1 if wrong input was answered with a 5xx (501 and 504 aside), or over gRPC with INTERNAL or UNKNOWN, if a
process ended, grew without bound, or somebody else was not answered. Times of others are printed, with the load
average: they say something on a quiet machine only. With `--kept FILE` bodies are sent once, however often the rig is
started again: each thousand is noted there.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.bodies import send_all
from tests.hostile.pressure import ATTACKS, QUESTION, make_way, press, still_serves
from tests.installation import Installation, Organization, running_installation
from tests.witness import Witness, witness

_TOLD = 20
_CONNECTIONS = {"idle connections": 10_000, "slow bodies": 500, "endless bodies": 40, "large bodies": 40}
_FEW = 8


async def attack(
    organization: Organization, other: Witness, names: Sequence[str], connections: float, seconds: float
) -> list[str]:
    """Attacks one after another, somebody else being heard for so long each time; returns what is wrong.

    `connections`: a factor to the number of those that attack.
    """
    wrong = []
    for name in names:
        count = max(1, int(_CONNECTIONS.get(name, _FEW) * connections))
        pressed = await press(organization, other, name, count, seconds)
        print(f"{pressed}; load average {os.getloadavg()[0]:.1f}", flush=True)
        wrong += pressed.faults
    return wrong if still_serves(organization.installation) else [*wrong, "a process has ended"]


async def send(installation: Installation, count: int, seed: int, kept: Path) -> list[str]:
    """Sends wrong bodies; returns what is wrong with their answers."""
    began = time.monotonic()
    sent = await send_all(installation, count, seed, kept)
    taken_s = time.monotonic() - began
    print(f"{sent.earlier} bodies earlier, {sent.now} now in {taken_s:.0f} s: {sent}", flush=True)
    return sent.faults


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=200_000, help="wrong bodies, over HTTP and gRPC together")
    parser.add_argument("--kept", type=Path, help="file of what was sent in earlier runs, which is not sent again")
    parser.add_argument("--connections", type=float, default=1.0, help="factor to the number of hostile connections")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long somebody else is heard each time")
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="only this one, or these")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's bodies")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-hostile-") as folder,
        running_installation(Path(folder) / "data") as installation,
    ):
        kept, names = options.kept or Path(folder) / "kept.jsonl", options.attack or list(ATTACKS)
        wrong = asyncio.run(send(installation, options.bodies, options.seed, kept))
        with witness(installation.signup("Somebody else"), QUESTION) as other:
            make_way()
            organization = installation.signup("Hostile")
            wrong += asyncio.run(attack(organization, other, names, options.connections, options.seconds))
    for fault in wrong[:_TOLD]:
        print(f"  WRONG: {fault}")
    print(f"{len(wrong)} faults")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
