"""What a cluster does to an installation under load, and what callers may notice of it."""

import asyncio
import re
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from asahi_edge.settings import EdgeSettings
from deploy.k8s.generate import SERVICES
from tests.documents import ROOT
from tests.k8s.cluster.installation import Installation, merged
from tests.k8s.cluster.load import Books
from tests.k8s.cluster.podman import environment
from tests.k8s.cluster.pods import Pod
from tests.k8s.objects import SERVERS
from tests.k8s.rendering import Object

_CALLS = re.compile(
    r"^asahi_(?:(?:rpc_server|http)_[a-z_]*seconds_count|cache_lookups_total)"  # look-ups are no calls of their own
    r"(?:\{(?![^}]*/health)[^}]*\})? ([0-9.e+]+)$",
    re.MULTILINE,
)
STORES_DOWN_S = 60.0
_UNVERIFIED = (
    "plain: 503 service_unavailable: Keys cannot be verified",
    "stream: 503 service_unavailable: Keys cannot be",
)
_BACK_WITHIN_S = 5.0
"""After its store has, auth answers."""
_LEAST_SHARE = 0.15
_SHARED_WITHIN_S = 30.0


@dataclass(slots=True)
class Stage:
    """What a case acts on."""

    installation: Installation
    books: Books
    headers: dict[str, str]
    faults: list[str] = field(default_factory=list)
    """What it has found beside what callers saw."""
    notes: list[str] = field(default_factory=list)
    """Figures that it has found."""
    excused: Callable[[float, float, str], bool] = lambda *_: False
    """Which failures are allowed: by when they began and ended, and what the caller saw."""

    def expect(self, holds: object, otherwise: str) -> None:
        """Notes a fault unless something holds."""
        if not holds:
            self.faults.append(otherwise)


Case = Callable[[Stage], Awaitable[None]]
_rollouts = iter(range(1, 10_000))


def _anew(*services: str) -> dict[str, object]:
    """Values that make new pods."""
    number = str(next(_rollouts))
    return {service: {"podAnnotations": {"rollout": number}} for service in services}


def rollout(*services: str) -> Case:
    """A new version of services, all at the same time."""

    async def act(stage: Stage) -> None:
        stage.installation.values = merged(stage.installation.values, _anew(*services))
        stage.installation.upgrade()
        await stage.installation.cluster.settled(*services)

    return act


async def rollback(stage: Stage) -> None:
    """A new version of everything, taken back in the midst of its rollout."""
    stage.installation.upgrade(_anew(*SERVICES))
    await asyncio.sleep(12)
    stage.installation.upgrade()
    await stage.installation.cluster.settled()


async def drain(stage: Stage) -> None:
    """One pod of each service leaves its node; its budget refuses the second."""
    cluster = stage.installation.cluster
    for service in SERVICES:
        pods = list(cluster[service].pods)
        stage.expect(cluster.evict(pods[0]), f"{service}: the budget refuses the first eviction")
        if len(pods) > 1:
            stage.expect(not cluster.evict(pods[1]), f"{service}: the budget permits a second eviction")
        await cluster.settled(service)


def never_ready(service: str, broken: dict[str, object]) -> Case:
    """A version that ends at its start because of values of its own, and is taken back."""

    async def act(stage: Stage) -> None:
        cluster = stage.installation.cluster
        before = {pod.name for pod in cluster[service].pods}
        stage.installation.upgrade({service: broken})
        await cluster.until("a broken pod", lambda: any(pod.restarts > 1 for pod in cluster[service].pods), 120)
        kept = {pod.name for pod in cluster[service].pods if pod.ready}
        least = len(before) - (cluster[service].wanted["kind"] == "StatefulSet")
        stage.expect(len(kept & before) >= least, f"only {len(kept & before)} pods of the old version are left")
        stage.installation.upgrade()
        await cluster.settled(service)

    return act


async def failing_migration(stage: Stage) -> None:
    """A version of billing whose migration fails: its pods never start, and the old ones go on."""
    cluster = stage.installation.cluster
    await asyncio.to_thread(_build_failing, stage.installation.tag)
    old = {pod.name for pod in cluster["billing"].pods}
    jobs = set(cluster.workloads)
    stage.installation.upgrade({"billing": {"image": {"tag": "failing"}}})
    job = cluster.workloads[next(iter(set(cluster.workloads) - jobs))]
    await cluster.until("the migration's failure", job.failed, 180)
    said = job.pods[-1].log.read_text()
    stage.expect("the migration to 9999 failed, nothing was changed" in said, f"the Job says {said[-300:]!r}")
    new = [pod for pod in cluster["billing"].pods if pod.name not in old]
    stage.expect(
        new and all(pod.restarts == 0 and not pod.ready for pod in new), "a pod of the new version has started"
    )
    stage.expect(old == {pod.name for pod in cluster["billing"].pods if pod.ready}, "not all old pods are ready")
    stage.installation.upgrade()
    await cluster.settled("billing")


def _build_failing(tag: str) -> None:
    """asahi/billing:failing, of a later schema that PostgreSQL refuses."""
    package = ROOT / "services" / "billing" / "src" / "asahi_billing"
    opening = (package / "stores" / "opening.py").read_text()
    found = re.search(r'head="([^"]+)"', opening)
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "opening.py").write_text(opening.replace(found[0], 'head="9999"'))
        (Path(folder) / "v9999_failing.py").write_text(
            'from alembic import op\n\nrevision = "9999"\nbranch_labels = depends_on = None\n'
            f'down_revision = "{found[1]}"\n\n\n'
            'def upgrade() -> None:\n    op.execute("CREATE TABLE half_done (id int)")\n'
            '    op.execute("ALTER TABLE none_such ADD COLUMN x int")\n'
        )
        at = "/opt/venv/lib/python3.11/site-packages/asahi_billing"
        (Path(folder) / "Dockerfile").write_text(
            f"FROM asahi/billing:{tag}\nCOPY opening.py {at}/stores/opening.py\n"
            f"COPY v9999_failing.py {at}/migrations/versions/v9999_failing.py\n"
        )
        command = ("podman", "build", "--quiet", "--tag=asahi/billing:failing", folder)
        subprocess.run(command, check=True, env=environment(), capture_output=True)


def killed(service: str) -> Case:
    """SIGKILL to the process of one pod: its container starts anew, with its emptyDir."""

    async def act(stage: Stage) -> None:
        cluster = stage.installation.cluster
        pod = cluster[service].pods[0]
        restarts = pod.restarts
        at = time.monotonic()
        cluster.kill(pod)
        await cluster.until("the end of its container", lambda: not pod.ready, 30)
        heard = time.monotonic() + 2.0  # until nobody is led there any more
        await cluster.until("its container's return", lambda: pod.ready, 120)
        stage.expect(pod.restarts == restarts + 1, f"{pod.restarts - restarts} restarts")
        await asyncio.sleep(3)
        through = ("edge", "router")  # requests pass through these; all others' calls are repeated or done without
        stage.excused = lambda begun, ended, _what: service in through and begun <= heard and ended >= at

    return act


async def scale(stage: Stage) -> None:
    """Two replicas, four, two: the new ones get their share within 30 s."""
    cluster = stage.installation.cluster
    scaled = [service for service in SERVICES if len(cluster[service].pods) > 1]
    old = {pod.name for pod in cluster.pods()}
    stage.installation.upgrade({service: {"replicas": 4} for service in scaled})
    await cluster.settled()
    await asyncio.sleep(_SHARED_WITHIN_S)
    shares = await shares_of(stage, scaled, within_s=_SHARED_WITHIN_S)
    for service, found in shares.items():
        new = [share for name, share in found.items() if name not in old]
        stage.notes.append(f"{service}: {', '.join(f'{share:.0%}' for share in new)}")
        stage.expect(min(new) >= _LEAST_SHARE, f"{service}: a new replica gets {min(new):.0%} of the calls")
    stage.installation.upgrade()
    await cluster.settled()


async def shares_of(stage: Stage, services: list[str], *, within_s: float) -> dict[str, dict[str, float]]:
    """What each pod gets of its service's calls, over some seconds."""
    pods = {service: list(stage.installation.cluster[service].pods) for service in services}
    before = {pod.name: await calls_of(pod) for of in pods.values() for pod in of}
    await asyncio.sleep(within_s)
    after = {pod.name: await calls_of(pod) for of in pods.values() for pod in of}
    shares = {}
    for service, of in pods.items():
        got = {pod.name: after[pod.name] - before[pod.name] for pod in of}
        total = sum(got.values())
        shares[service] = {name: count / total if total else 0.0 for name, count in got.items()}
    return shares


async def calls_of(pod: Pod) -> float:
    """How many calls a pod has answered, without probes."""
    async with httpx2.AsyncClient(timeout=10.0) as client:
        page = (await client.get(f"http://{pod.ip}:{pod.ports()['metrics']}/metrics")).text
    return sum(float(count) for count in _CALLS.findall(page))


async def stores_down(stage: Stage) -> None:
    """PostgreSQL and Redis are away for a minute: nothing starts anew, all stay ready, /health names what is broken.

    No request fails as long as the verdict on its key may be stretched, which is a minute from when it was given.
    """
    cluster = stage.installation.cluster
    restarts = {pod.name: pod.restarts for pod in cluster.pods()}
    settings = EdgeSettings()
    begun = time.monotonic()
    stretched_until = begun + settings.auth_grace - settings.auth_fresh_seconds
    await asyncio.to_thread(stage.installation.postgresql.stop)
    await asyncio.to_thread(stage.installation.redis.stop)
    unready: set[str] = set()
    until = time.monotonic() + STORES_DOWN_S
    while time.monotonic() < until:
        unready |= {pod.name for pod in cluster.pods() if not pod.ready}
        await asyncio.sleep(0.5)
    async with httpx2.AsyncClient(base_url=stage.installation.url, headers=stage.headers, timeout=30.0) as client:
        health = (await client.get("/health")).json()
    await asyncio.to_thread(stage.installation.postgresql.start)
    await asyncio.to_thread(stage.installation.redis.start)
    back = time.monotonic() + _BACK_WITHIN_S
    stage.excused = lambda began, ended, what: (
        what.startswith(_UNVERIFIED) and ended >= stretched_until and began <= back
    )
    named = {name: part["detail"] for name, part in health["components"].items() if part["status"] != "healthy"}
    stage.notes.append(f"/health: {named}")
    stage.expect(not unready, f"not ready meanwhile: {', '.join(sorted(unready))}")
    stage.expect("redis" in named, "/health does not name redis")
    stage.expect("billing" in named, "/health does not say that billing takes no usage")
    again = [pod.name for pod in cluster.pods() if pod.restarts != restarts.get(pod.name, 0)]
    stage.expect(not again, f"started anew: {', '.join(again)}")
    await asyncio.sleep(_BACK_WITHIN_S + 3)
    refused = sorted(ended - begun for _, ended, what in stage.books.failures if what.startswith(_UNVERIFIED))
    if refused:
        stage.notes.append(f"keys not verified: {len(refused)} times, {refused[0]:.0f} to {refused[-1]:.0f} s after")
    stage.notes.append(f"stores away for {back - _BACK_WITHIN_S - begun:.0f} s")


def without_pre_stop(objects: list[Object]) -> None:
    """Takes away what lets callers hear of a pod's end before it ends."""
    for one in objects:
        if one["kind"] in SERVERS:
            for container in one["spec"]["template"]["spec"]["containers"]:
                container.pop("lifecycle")


def with_cluster_ip(objects: list[Object]) -> None:
    """Takes away headless Services: a connection leads to one pod, and callers know of no other."""
    for one in objects:
        if one["kind"] == "Service":
            one["spec"].pop("clusterIP", None)
