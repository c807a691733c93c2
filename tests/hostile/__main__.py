"""`python -m tests.hostile --bodies 200000`: wrong bodies to every path and method, then connections that mean no good.

Exit code 1 if wrong input was answered with a 5xx (501 and 504 aside), or over gRPC with INTERNAL or UNKNOWN, if a
process ended, grew without bound, or somebody else was not answered. Times of others are printed, with the load
average: they say something on a quiet machine only.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.hostile.grpc_bodies import send_wrongly
from tests.hostile.http_bodies import ask_wrongly
from tests.hostile.pressure import ATTACKS, press, still_serves
from tests.installation import Installation, running_installation

_GRPC_SHARE = 0.3
_TOLD = 20
_CONNECTIONS = {"idle connections": 10_000, "slow bodies": 500, "endless bodies": 40, "large bodies": 40}
_FEW = 8
_PROBES, _FEWEST_PROBES = 200, 30
"""How often somebody else asks; too seldom for percentiles where there are few connections."""


async def be_hostile(
    installation: Installation, bodies: int, connections: float, seed: int, attacks: Iterable[str] = ATTACKS
) -> list[str]:
    """All of it; returns what is wrong. `connections`: a factor to the number of those that attack."""
    messages = int(bodies * _GRPC_SHARE)
    began = time.monotonic()
    over_http = await ask_wrongly(installation, bodies - messages, seed)
    print(f"{bodies - messages} bodies over HTTP in {time.monotonic() - began:.0f} s: {dict(over_http.statuses)}")
    began = time.monotonic()
    over_grpc, codes = await send_wrongly(installation, messages, seed)
    print(f"{messages} calls over gRPC in {time.monotonic() - began:.0f} s: {dict(codes)}", flush=True)
    wrong = over_http.faults + over_grpc.faults
    organization = installation.signup("Hostile")
    for name in attacks:
        count = max(1, int(_CONNECTIONS.get(name, _FEW) * connections))
        pressed = await press(organization, name, count, max(_FEWEST_PROBES, int(_PROBES * connections)))
        print(f"{pressed}; load average {os.getloadavg()[0]:.1f}", flush=True)
        wrong += pressed.faults
    return wrong if still_serves(installation) else [*wrong, "a process has ended"]


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=200_000, help="wrong bodies, over HTTP and gRPC together")
    parser.add_argument("--connections", type=float, default=1.0, help="factor to the number of hostile connections")
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="only this one, or these")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's bodies")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-hostile-") as folder,
        running_installation(Path(folder) / "data") as installation,
    ):
        wrong = asyncio.run(
            be_hostile(installation, options.bodies, options.connections, options.seed, options.attack or ATTACKS)
        )
    for fault in wrong[:_TOLD]:
        print(f"  WRONG: {fault}")
    print(f"{len(wrong)} faults")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
