"""A Qdrant server killed, stopped (SIGSTOP), and slowed by 500 ms under a replica of the cache that uses it.

`python -m tests.qdrant_faults` judges what `tests.store_faults` says, beside a replica whose questions are embedded.
The server is `QDRANT_BIN`, or the one at `QDRANT_URL`, else a stand-in for the calls that are made; it says which.
Exit code 1 if something is wrong, 2 if the machine was too busy to tell whether p99 is as before.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

import httpx2

from asahi.cache.v1 import cache_pb2 as pb
from tests.installation import Installation, Organization, running_installation
from tests.qdrant_server import qdrant
from tests.store_faults import Side, Stage, run

_AT_SERVER = Side(("edge",), ("cache",))
_EMBEDDED = Side(("edge2",), ("cache2",))
_SCOPE = sha256(b"a scope of nothing").digest()
_KEPT_S = 0.3
_MODEL_WITHIN_S = 60.0


def _lookup(fingerprint: bytes) -> pb.LookupRequest:
    question = pb.SemanticQuestion(text="Who asks?", scope=_SCOPE, false_hit_bound=0.01)
    return pb.LookupRequest(organization_id="org-probe", fingerprint=fingerprint, semantic=question)


class _Similar:
    """Whether a question in another form is answered by tier 2."""

    def __init__(self, organization: Organization) -> None:
        self._organization = organization
        self._numbers = count(1)

    async def __call__(self) -> bool:
        question = f"What is number {next(self._numbers)} of the list"
        async with self._organization.async_client() as client:
            await client.post("/infer", json={"prompt": question})
            await asyncio.sleep(_KEPT_S)  # it is kept a moment later
            answer = await client.post("/infer", json={"prompt": f"Hello! {question.lower()}?"})
        return answer.headers["x-asahi-cache"] == "hit; tier=2"


def wait_for_model(running: Installation, edges: tuple[str, ...]) -> None:
    """Returns when tier 2 serves at the replicas of these edges."""
    deadline = time.monotonic() + _MODEL_WITHIN_S
    for edge in edges:
        while "embedded by" not in (
            said := httpx2.get(f"{running.url_of(edge)}/health", verify=False).json()["components"]["semantic"][
                "detail"
            ]
        ):
            assert time.monotonic() < deadline, f"tier 2 does not serve: {said}"
            time.sleep(0.1)


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each part is")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second to each side")
    parser.add_argument("--seed", type=int, default=1, help="of the questions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asahi-faults-") as folder, qdrant() as server:
        environment: Mapping[str, Mapping[str, str]] = {
            "cache": {"QDRANT_URL": server.url, "QDRANT_API_KEY": os.environ.get("QDRANT_API_KEY", "")},
            "cache2": {"QDRANT_URL": "", "QDRANT_API_KEY": ""},
        }
        print(f"Qdrant is {server.name}")
        with running_installation(Path(folder), edges=2, caches=2, environment=environment) as running:
            wait_for_model(running, ("edge", "edge2"))
            organization = running.signup("Qdrant")
            stage = Stage(
                running=running,
                organization=organization,
                subject=_AT_SERVER,
                control=_EMBEDDED,
                store=server,
                part="semantic",
                lookup=_lookup,
                works=_Similar(organization),
                random=Random(options.seed),
                per_second=options.rate,
            )
            return asyncio.run(run(stage, options.seconds)).exit_code


if __name__ == "__main__":
    sys.exit(main())
