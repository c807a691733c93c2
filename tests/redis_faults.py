"""Redis killed, stopped (SIGSTOP), and slowed by 500 ms under two edges and two replicas of the cache that share it.

`python -m tests.redis_faults` judges what `tests.store_faults` says, beside an edge and a replica without Redis. Exit
code 1 if something is wrong, 2 if the machine was too busy to tell whether p99 is as before.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from asahi.cache.v1 import cache_pb2 as pb
from tests.installation import Organization, running_installation
from tests.redis_server import RedisServer, redis_server
from tests.slow_proxy import SlowProxy, slow_proxy
from tests.store_faults import SLOWED_S, Side, Stage, run

_SHARING = Side(("edge", "edge2"), ("cache", "cache2"))
_ALONE = Side(("edge3",), ("cache3",))


@dataclass(frozen=True, slots=True)
class _Redis:
    """A server, and the proxy through which it is reached."""

    server: RedisServer
    proxy: SlowProxy

    def break_it(self, fault: str) -> None:
        """Brings the fault about."""
        if fault == "killed":
            self.server.stop()
        elif fault == "stopped":
            self.server.freeze()
        else:
            self.proxy.delay_s = SLOWED_S / 2  # each way

    def mend(self, fault: str) -> None:
        """Ends it."""
        if fault == "killed":
            self.server.start()
        elif fault == "stopped":
            self.server.thaw()
        else:
            self.proxy.delay_s = 0.0


def _lookup(fingerprint: bytes) -> pb.LookupRequest:
    return pb.LookupRequest(organization_id="org-probe", fingerprint=fingerprint)


class _Shared:
    """Whether one edge is given what the other had stored."""

    def __init__(self, organization: Organization) -> None:
        self._organization = organization
        self._numbers = count(1)

    async def __call__(self) -> bool:
        question = {"prompt": f"Shared {next(self._numbers)}"}
        async with self._organization.async_client("edge") as one, self._organization.async_client("edge2") as two:
            await one.post("/infer", json=question)
            answer = await two.post("/infer", json=question)
        return answer.headers["x-asahi-cache"].startswith("hit")


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each part is")
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second to each side")
    parser.add_argument("--seed", type=int, default=1, help="of the questions")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="asahi-faults-") as folder,
        redis_server() as server,
        slow_proxy(server.port) as proxy,
    ):
        url, alone = f"redis://127.0.0.1:{proxy.port}/0", {"REDIS_URL": ""}
        environment: Mapping[str, Mapping[str, str]] = {
            "cache": {"REDIS_URL": url},
            "edge": {"REDIS_URL": url, "ASAHI_NEAR_CACHE_BYTES": "0"},  # so that the replicas are asked
            "cache3": alone,
            "edge3": alone,
        }
        with running_installation(Path(folder), edges=3, caches=3, environment=environment) as running:
            organization = running.signup("Redis")
            stage = Stage(
                running=running,
                organization=organization,
                subject=_SHARING,
                control=_ALONE,
                store=_Redis(server, proxy),
                part="redis",
                lookup=_lookup,
                works=_Shared(organization),
                random=Random(options.seed),
                per_second=options.rate,
            )
            return asyncio.run(run(stage, options.seconds)).exit_code


if __name__ == "__main__":
    sys.exit(main())
