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

import httpx2

from deploy.k8s.generate import SERVICES
from tests.k8s.cluster import cases
from tests.k8s.cluster.alone import alone
from tests.k8s.cluster.cluster import NotSettled
from tests.k8s.cluster.first_request import first_request
from tests.k8s.cluster.installation import Installation, running_installation
from tests.k8s.cluster.load import PER_SECOND, compare, load
from tests.k8s.cluster.network import run_inside
from tests.k8s.cluster.podman import PodmanFailed
from tests.k8s.cluster.record import HEAD, Result, commit_of, record
from tests.k8s.cluster.upgrade import Upgrade, charts_of

CASES: dict[str, cases.Case] = {
    "first-request": first_request,
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
_FAILED = (NotSettled, PodmanFailed, AssertionError, httpx2.HTTPError)
"""What ends a case in its midst; others follow."""


async def run(installation: Installation, name: str, case: cases.Case, options: argparse.Namespace) -> bool:
    """Runs a case under load, and prints and records a row; whether something was wrong."""
    organization, headers = await installation.signup()
    installation.new_books()
    async with load(installation, headers, per_second=options.per_second) as books:
        stage = cases.Stage(installation, books, headers)
        await asyncio.sleep(_CALM_S)
        begun = time.monotonic()
        try:
            await case(stage)
        except _FAILED as error:
            stage.faults.append(f"{type(error).__name__}: {error}")
        took = time.monotonic() - begun
        await asyncio.sleep(_CALM_S)
    excused = [one for one in books.failures if stage.excused(*one)]
    books.failures = [one for one in books.failures if one not in excused]
    calls, faults = await compare(installation, organization)
    faults += stage.faults + books.faults()
    result = Result(
        case=name,
        commit=await commit_of(f"asahi/edge:{installation.tag}"),
        load=os.getloadavg()[0],
        took_s=took,
        requests=books.requests,
        streams=books.streams,
        failed=len(books.failures),
        excused=len(excused),
        calls=calls,
        faults=faults,
        notes=stage.notes + [f"allowed: {what}" for what in sorted({what for *_, what in excused})],
    )
    print(result.row(), *result.notes, *result.faults, sep="\n  ", flush=True)
    if options.record:
        record(result, [*CASES, *PROOFS])
    return bool(faults)


async def run_all(options: argparse.Namespace) -> int:
    """Runs cases one after the other; the number of those that went wrong."""
    print(HEAD, flush=True)
    if options.proof:
        defect, case = PROOFS[options.proof]
        async with running_installation(options.tag, defect) as installation:
            found = await run(installation, options.proof, case, options)
        print("the defect was found" if found else "THE DEFECT WAS NOT FOUND")
        return not found
    if options.commit:
        with charts_of(options.commit) as older:
            async with Upgrade.installed(options.commit, older, options.tag) as (upgrade, installation):
                return await run(installation, f"from {options.commit} and back", upgrade, options)
    wrong = 0
    async with running_installation(options.tag) as installation:
        for name in options.case:
            faulty = await run(installation, name, CASES[name], options)
            wrong += faulty
            if faulty:  # what a case did not bring to its end
                installation.upgrade()
                await installation.cluster.settled()
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
    parser.add_argument("--tag", default="0.1.0", help="of the images (%(default)s, which charts name)")
    parser.add_argument("--per-second", type=float, default=PER_SECOND, help="requests a second (%(default)s)")
    parser.add_argument("--record", action="store_true", help="put results into docs/operations/containers.md")
    parser.add_argument("--alone", action="store_true", help="each service by itself, called over gRPC with TLS")
    options = parser.parse_args()
    if options.alone:
        wrong = asyncio.run(alone(options.tag))
        print("\n".join(wrong))
        return bool(wrong)
    if unknown := set(options.case) - CASES.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return bool(asyncio.run(run_all(options)))


if __name__ == "__main__":
    sys.exit(run_inside(main))
