"""The cluster: objects are applied, and pods, names and addresses follow."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.k8s.cluster.fields import KINDS_NOT_ENFORCED, check_fields
from tests.k8s.cluster.network import DOMAIN, Addresses, Names, Ports, lead, pod_network
from tests.k8s.cluster.pods import Ground, Pod
from tests.k8s.cluster.workloads import Workload
from tests.k8s.objects import name_of, selects
from tests.k8s.rendering import NAMESPACE, Object

_WORKLOADS = ("Deployment", "StatefulSet", "Job")
_STEP_S = 0.1
_HEARD_AFTER_S = 1.0
"""Until everybody has heard of a pod's state, as in a cluster; without it a missing preStop would go unseen."""


class NotSettled(Exception):
    """What was to happen has not happened in time; the message says how things stand."""


class Cluster:
    """Objects by kind and name, and what has become of them."""

    def __init__(self, network: str, folder: Path, addresses: Addresses, names: Names) -> None:
        self.workloads: dict[str, Workload] = {}
        self._objects: dict[tuple[str, str], Object] = {}
        self._addresses = addresses
        self._names = names
        self._service_addresses: dict[str, str] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.folder = folder
        self._ground = Ground(
            network=network,
            dns=names.arguments(NAMESPACE),
            folder=folder,
            objects=lambda kind, name: self._objects[kind, name],
            changed=lambda: None,
        )
        self._failed: list[BaseException] = []

    def apply(self, objects: Iterable[Object]) -> None:
        """Takes objects, in the place of those of the same kind and name.

        Raises:
            UnknownField: the runner would not do what an object asks for.
        """
        objects = list(objects)
        for one in objects:
            check_fields(one)
        for one in objects:
            kind, name = one["kind"], one["metadata"]["name"]
            if kind in KINDS_NOT_ENFORCED:
                continue
            self._objects[kind, name] = one
            if kind == "Service" and one["spec"].get("clusterIP") != "None":
                self._service_addresses.setdefault(name, self._addresses.of_service())
            if kind in _WORKLOADS:
                if name_of(one) in self.workloads:
                    self.workloads[name_of(one)].wanted = one
                else:
                    self.workloads[name_of(one)] = Workload(one, self._make)

    def __getitem__(self, service: str) -> Workload:
        """The workload of a service: `auth` is Deployment/asahi-auth."""
        for kind in ("Deployment", "StatefulSet"):
            if found := self.workloads.get(f"{kind}/asahi-{service}"):
                return found
        raise KeyError(service)

    def address(self, service: str) -> str:
        """The ClusterIP of a Service."""
        return self._service_addresses[service]

    def pods(self) -> list[Pod]:
        """All that serve or are to serve."""
        servers = [one for one in self.workloads.values() if one.wanted["kind"] != "Job"]
        return [pod for workload in servers for pod in workload.pods]

    def evict(self, pod: Pod) -> bool:
        """Ends a pod if the budget that selects it permits; whether it did."""
        budget = next(
            one
            for (kind, _), one in self._objects.items()
            if kind == "PodDisruptionBudget" and selects(one["spec"]["selector"], dict(pod.labels))
        )
        fellows = [one for one in self.pods() if selects(budget["spec"]["selector"], dict(one.labels))]
        workload = next(one for one in self.workloads.values() if pod in one.pods)
        healthy = sum(one.ready for one in fellows)
        if pod.ready and healthy - 1 < workload.replicas - budget["spec"]["maxUnavailable"]:
            return False
        pod.end()
        return True

    def kill(self, pod: Pod) -> None:
        """SIGKILL to its container's first process."""
        os.kill(pod.pid, signal.SIGKILL)

    async def until(self, what: str, holds: Callable[[], bool], within_s: float) -> float:
        """Seconds until `holds`.

        Raises:
            NotSettled: it did not in time.
        """
        begun = time.monotonic()
        while not holds():
            if self._failed:
                raise self._failed[0]
            if time.monotonic() - begun > within_s:
                raise NotSettled(f"{what}: not within {within_s:.0f} s\n{self.state()}")
            await asyncio.sleep(_STEP_S)
        return time.monotonic() - begun

    async def settled(self, *services: str, within_s: float = 240.0) -> float:
        """Seconds until workloads are as wanted; without names all."""
        chosen = [self[name] for name in services] or [
            one for one in self.workloads.values() if one.wanted["kind"] != "Job"
        ]
        return await self.until(", ".join(services) or "all", lambda: all(one.settled() for one in chosen), within_s)

    def state(self) -> str:
        """Every pod: ready or not, restarts, and the end of what it said if it is not ready."""
        lines = []
        for workload in self.workloads.values():
            for pod in workload.pods:
                words = "ready" if pod.ready else "ending" if pod.terminating else f"not ready, outcome {pod.outcome}"
                lines.append(f"{pod.name}: {words}, {pod.restarts} restarts")
                if not pod.ready and pod.log.exists():
                    lines += [f"    {line}" for line in pod.log.read_text().splitlines()[-5:]]
        return "\n".join(lines)

    async def run(self) -> None:
        """Keeps everything as it is wanted, until it is cancelled."""
        due: list[tuple[float, dict[str, list[str]], Ports]] = []
        newest: tuple[dict[str, list[str]], Ports] | None = None
        while True:
            for workload in self.workloads.values():
                workload.step()
            hosts, ports = self._endpoints()
            if (hosts, ports) != newest:
                newest = hosts, ports
                due.append((time.monotonic() + _HEARD_AFTER_S, hosts, ports))
            while due and due[0][0] <= time.monotonic():
                _, self._names.hosts, heard = due.pop(0)
                await lead(heard)
            await asyncio.sleep(_STEP_S)

    async def close(self) -> None:
        """Ends all pods at once."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _make(self, name: str, template: Object, digest: str, claims: tuple[str, ...] = ()) -> Pod:
        ip, mac = self._addresses.of_pod()
        volumes = {claim: self._ground.folder / "claims" / f"{claim}-{name}" for claim in claims}
        pod = Pod(
            self._ground, name, template["metadata"].get("labels", {}), template["spec"], digest, ip, mac, volumes
        )
        task = asyncio.create_task(pod.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(self.note_failure)
        return pod

    def note_failure(self, task: "asyncio.Task[None]") -> None:
        """A part of the runner has failed: who waits for something hears of it."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    def _endpoints(self) -> tuple[dict[str, list[str]], Ports]:
        """Of each Service: addresses for its name, and where its own address leads to."""
        hosts: dict[str, list[str]] = {}
        ports: dict[tuple[str, int], list[tuple[str, int]]] = {}
        pods = [pod for workload in self.workloads.values() for pod in workload.pods]
        for (kind, name), one in self._objects.items():
            if kind != "Service":
                continue
            chosen = [
                pod for pod in pods if pod.ready and selects({"matchLabels": one["spec"]["selector"]}, dict(pod.labels))
            ]
            own = f"{name}.{NAMESPACE}.{DOMAIN}"
            if one["spec"].get("clusterIP") == "None":
                hosts[own] = [pod.ip for pod in chosen]
                hosts |= {f"{pod.name}.{own}": [pod.ip] for pod in chosen}
                continue
            address = self._service_addresses[name]
            hosts[own] = [address]
            for port in one["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                ports[address, port["port"]] = [(pod.ip, pod.ports().get(target, target)) for pod in chosen]
        return hosts, ports


@asynccontextmanager
async def running_cluster() -> AsyncIterator[Cluster]:
    """An empty cluster in this network namespace; nothing is left of it."""
    network = f"asahi{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="asahi-cluster-") as folder, pod_network(network) as addresses:
        os.chmod(folder, 0o755)  # noqa: S103 - containers have users of their own
        os.mkdir(f"{folder}/logs")
        names = Names()
        await names.start()
        cluster = Cluster(network, Path(folder), addresses, names)
        running = asyncio.create_task(cluster.run())
        running.add_done_callback(cluster.note_failure)
        try:
            yield cluster
        finally:
            running.cancel()
            await asyncio.wait({running})
            await cluster.close()
            names.stop()
