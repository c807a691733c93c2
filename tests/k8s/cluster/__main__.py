"""`python -m tests.k8s.cluster [CASE…]`: the production profile on containers, and what callers notice of operations.

Two replicas of each service, real PostgreSQL and Redis, the provider simulator; 20 requests a second and five streams
all the time. After each case three books have to agree: callers', the provider's, the ledger's. Exit code 1 at a fault.
It needs root, podman, nft, ip, nsenter, helm (`make k8s-check` fetches it) and the images of `make images`.
"""

import argparse
import asyncio
import os
import sys
import time

from deploy.k8s.generate import SERVICES
from tests.k8s.cluster import cases
from tests.k8s.cluster.alone import alone
from tests.k8s.cluster.installation import Installation, running_installation
from tests.k8s.cluster.load import PER_SECOND, compare, load
from tests.k8s.cluster.network import run_inside
from tests.k8s.cluster.upgrade import Upgrade, charts_of

CASES: dict[str, cases.Case] = {
    **{f"rollout-{service}": cases.rollout(service) for service in SERVICES},
    "rollout-all": cases.rollout(*SERVICES),
    "rollback": cases.rollback,
    "drain": cases.drain,
    "never-ready-router": cases.never_ready("router", {"models": {"models": [{"id": "x", "none_such": 1}]}}),
    "never-ready-edge": cases.never_ready("edge", {"trustedProxies": ["nowhere/8"]}),
    "failing-migration": cases.failing_migration,
    **{f"killed-{service}": cases.killed(service) for service in SERVICES},
    "scale": cases.scale,
    "stores-down": cases.stores_down,
}
PROOFS = {
    "without-pre-stop": (cases.without_pre_stop, cases.rollout(*SERVICES)),
    "with-cluster-ip": (cases.with_cluster_ip, cases.scale),
}
"""Defects, each with the case that has to find it."""
_CALM_S = 3.0


async def run(installation: Installation, name: str, case: cases.Case, per_second: float) -> list[str]:
    """Runs a case under load; returns what is wrong, and prints a row."""
    organization, headers = await installation.signup()
    installation.new_books()
    async with load(installation, headers, per_second=per_second) as books:
        stage = cases.Stage(installation, books, headers)
        await asyncio.sleep(_CALM_S)
        begun = time.monotonic()
        await case(stage)
        took = time.monotonic() - begun
        await asyncio.sleep(_CALM_S)
    excused = [one for one in books.failures if stage.excused(*one)]
    books.failures = [one for one in books.failures if one not in excused]
    calls, faults = await compare(installation, organization)
    faults += stage.faults + books.faults()
    row = (name, f"{took:.0f} s", books.requests, books.streams, len(excused), len(books.failures), calls, len(faults))
    print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)
    for line in stage.notes + faults + sorted({what for *_, what in excused}):
        print(f"  {line}", flush=True)
    return faults


async def run_all(names: list[str], proof: str, per_second: float, commit: str) -> int:
    """Runs cases one after the other; the number of those that went wrong."""
    print(f"load average {os.getloadavg()[0]:.1f}")
    print("| case | took | requests | streams | excused failures | other failures | provider calls | faults |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |", flush=True)
    if proof:
        defect, case = PROOFS[proof]
        async with running_installation(defect) as installation:
            found = await run(installation, proof, case, per_second)
        print("the defect was found" if found else "THE DEFECT WAS NOT FOUND")
        return not found
    if commit:
        with charts_of(commit) as older:
            async with Upgrade.installed(commit, older) as (upgrade, installation):
                return bool(await run(installation, f"from {commit} and back", upgrade, per_second))
    wrong = 0
    async with running_installation() as installation:
        for name in names:
            wrong += bool(await run(installation, name, CASES[name], per_second))
    print(f"{wrong} cases went wrong")
    return wrong


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", default=[*CASES], help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--proof", choices=PROOFS, default="", help="plant a defect; the case has to find it")
    parser.add_argument(
        "--from",
        dest="commit",
        default="",
        metavar="COMMIT",
        help="upgrade from an older version and back; needs `make images ARGS='--commit COMMIT --tag COMMIT'`",
    )
    parser.add_argument("--per-second", type=float, default=PER_SECOND, help="requests a second (%(default)s)")
    parser.add_argument("--alone", action="store_true", help="each service by itself, called over gRPC with TLS")
    options = parser.parse_args()
    if options.alone:
        wrong = asyncio.run(alone())
        print("\n".join(wrong))
        return bool(wrong)
    if unknown := set(options.case) - CASES.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return bool(asyncio.run(run_all(options.case, options.proof, options.per_second, options.commit)))


if __name__ == "__main__":
    sys.exit(run_inside(main))
