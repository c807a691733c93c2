"""What a cluster does with objects, for as far as one machine without containers can: pods are processes.

Deployments and StatefulSets get their replicas, new ones only once the old ones have ended; Jobs and test pods run to
their end; init containers go first; what is not there (a secret) is waited for; a process that ends is started anew.
Names of Services lead to the first replica. Nothing is scheduled, limited, probed or isolated here: `tests.k8s.cluster`
does that.
"""

import asyncio
import base64
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.k8s.objects import Pod
from tests.k8s.operated.kinds import KINDS, Kind
from tests.k8s.operated.objects import Objects, Refused
from tests.k8s.processes import Here, PodProcess
from tests.k8s.rendering import NAMESPACE, Object

_OF = {one.kind: one for one in KINDS}
_WORKLOADS = (_OF["Deployment"], _OF["StatefulSet"])
_LOOK_AGAIN_S = 0.2
_START_AGAIN_S = 1.0
_HASH = "pod-template-hash"
_MOST_CONTAINERS = 64
"""Each has a thread as long as it runs: a Job gets its turn however many wait for what it is to do."""


@dataclass(slots=True)
class _Life:
    """A pod, from its making to its end."""

    name: str
    owner: Kind
    owned_by: str
    digest: str
    pod: Pod
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    processes: dict[str, PodProcess] = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    phase: str = "Pending"
    waiting: str = "ContainerCreating"


class Machine:
    """Keeps what runs as objects want it."""

    def __init__(self, objects: Objects, here: Here) -> None:
        self._objects = objects
        self._here = here
        self._lives: dict[str, _Life] = {}

    async def run(self) -> None:
        """For ever."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_MOST_CONTAINERS))
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._objects.changed.wait(), _LOOK_AGAIN_S)
            self._objects.changed.clear()
            self._read_contents()
            for kind in _WORKLOADS:
                for one in self._objects.list(kind, "", "", ""):
                    self._keep_replicas(kind, one)
            for one in self._objects.list(_OF["Job"], "", "", ""):
                self._keep_job(one)
            for one in self._objects.list(_OF["Pod"], "", "", ""):
                if not one["metadata"].get("ownerReferences") and one["metadata"]["name"] not in self._lives:
                    self._begin(one["metadata"]["name"], _OF["Pod"], one)
            self._end_orphans()
            self._tell()

    async def close(self) -> None:
        """Ends all pods."""
        for life in self._lives.values():
            life.stop.set()
        await asyncio.gather(*(life.task for life in self._lives.values() if life.task is not None))

    def log(self, pod: str, container: str) -> str:
        """What a container of a pod has said; Refused where there is none."""
        life = self._lives.get(pod)
        found = life and life.processes.get(container or next(reversed(life.processes), ""))
        if not found:
            raise Refused(400, "BadRequest", f"container {container!r} in pod {pod!r} is waiting to start")
        return found.log

    def usage(self) -> list[Object]:
        """Memory and mean CPU of the pods that run, as a metrics server tells them."""
        return [
            {
                "metadata": {"name": life.name, "namespace": NAMESPACE, "labels": life.pod.labels},
                "timestamp": _now(),
                "window": "15s",
                "containers": [{"name": life.pod.labels["app.kubernetes.io/name"], "usage": usage}],
            }
            for life in self._lives.values()
            if life.ready and (usage := _usage(next(reversed(life.processes.values())).pid))
        ]

    def _read_contents(self) -> None:
        """Secrets and ConfigMaps, as pods that begin find them; running ones see new content of their files."""
        before = self._here.secrets
        self._here.secrets = {
            one["metadata"]["name"]: {
                key: base64.b64decode(value).decode() for key, value in (one.get("data") or {}).items()
            }
            for one in self._objects.list(_OF["Secret"], NAMESPACE, "owner!=helm", "")
        }
        self._here.configs = {
            one["metadata"]["name"]: one.get("data") or {}
            for one in self._objects.list(_OF["ConfigMap"], NAMESPACE, "", "")
        }
        if before != self._here.secrets:
            for life in self._lives.values():
                for process in life.processes.values():
                    with suppress(KeyError):
                        process.refresh_secrets(self._here.secrets)
        for one in self._objects.list(_OF["Service"], NAMESPACE, "", ""):
            for port in one["spec"]["ports"]:
                if one["spec"].get("clusterIP") != "None" and port["targetPort"] == "http":
                    self._here.lead(one["spec"]["selector"]["app.kubernetes.io/name"], port["port"], 8000)

    def _keep_replicas(self, kind: Kind, one: Object) -> None:
        name, digest = one["metadata"]["name"], _digest(one)
        own = sorted((life for life in self._lives.values() if life.owned_by == name), key=lambda life: life.name)
        wanted = one["spec"].get("replicas", 1)
        service = one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for number in range(wanted):
            of = f"{name}-{number}" if kind.kind == "StatefulSet" else f"{name}-{digest[:8]}-{number}"
            place = service if number == 0 else f"{service}-{number}"
            taken = [life for life in own if (life.processes and _place(life) == place) or life.name == of]
            if not taken:
                self._begin(of, kind, one, place)
            elif taken[0].digest != digest:
                taken[0].stop.set()
        for life in own[wanted:]:
            life.stop.set()

    def _keep_job(self, one: Object) -> None:
        name = one["metadata"]["name"]
        life = self._lives.get(f"{name}-0")
        if life is None and not (one.get("status") or {}).get("conditions"):
            self._begin(f"{name}-0", _OF["Job"], one)

    def _begin(self, name: str, kind: Kind, one: Object, place: str = "") -> None:
        """`name`: of the pod; `one`: what wants it; `place`: whose addresses it has, if it serves."""
        owner, template = one["metadata"]["name"], one["spec"]["template"] if kind.kind != "Pod" else one
        labels = {**(template["metadata"].get("labels") or {})}
        pod = Pod(one, "", {**template["metadata"], "labels": labels}, template["spec"])
        life = self._lives[name] = _Life(name, kind, owner, _digest(one) if kind in _WORKLOADS else "", pod)
        if kind.kind != "Pod":
            uid = one["metadata"]["uid"]
            reference = {"apiVersion": kind.api_version, "kind": kind.kind, "name": owner, "uid": uid}
            meta = {"name": name, "labels": labels, "ownerReferences": [{**reference, "controller": True}]}
            spec = {**template["spec"], "volumes": [*template["spec"]["volumes"], *_claimed(one)]}
            self._objects.create(_OF["Pod"], NAMESPACE, {"metadata": meta, "spec": spec})
        live = self._serve(life, place) if kind in _WORKLOADS else self._finish(life)
        life.task = asyncio.create_task(live)

    async def _serve(self, life: _Life, place: str) -> None:
        try:
            for container in life.pod.spec.get("initContainers") or []:
                while await self._run_container(life, container["name"], place) != 0:
                    if life.stop.is_set():
                        return
                    await asyncio.sleep(_START_AGAIN_S)
            while not life.stop.is_set():
                await self._serve_once(life, place)
        finally:
            for process in life.processes.values():
                await asyncio.to_thread(process.stop)
            self._forget(life)

    async def _serve_once(self, life: _Life, place: str) -> None:
        process = await self._made(life, "", place)
        if process is None:
            return
        try:
            await asyncio.to_thread(process.start)
        except AssertionError:
            await asyncio.to_thread(process.stop)
            life.restarts += 1
            life.waiting = "CrashLoopBackOff"
            await asyncio.sleep(_START_AGAIN_S)
            return
        life.ready, life.phase = True, "Running"
        while process.pid and not life.stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(life.stop.wait(), _LOOK_AGAIN_S)
        life.ready = False
        await asyncio.to_thread(process.stop)

    async def _finish(self, life: _Life) -> None:
        """A Job's pod, tried anew as often as the Job says, or a pod of its own."""
        job = life.pod.owner if life.owner.kind == "Job" else None
        tries = 1 + (job["spec"].get("backoffLimit", 6) if job else 0)
        (container,) = life.pod.spec["containers"]
        for _ in range(tries):
            code = await self._run_container(life, container["name"], f"{life.name}")
            if code == 0 or life.stop.is_set():
                break
        life.phase = "Succeeded" if code == 0 else "Failed"
        if job is not None:
            self._objects.set_status(_OF["Job"], NAMESPACE, life.owned_by, _job_status(code == 0))
        await life.stop.wait()
        self._forget(life)

    async def _run_container(self, life: _Life, container: str, place: str) -> int:
        process = await self._made(life, container, place)
        if process is None:
            return 1
        life.phase = "Running" if life.owner.kind in ("Job", "Pod") else "Pending"
        running = asyncio.create_task(asyncio.to_thread(process.run))
        stopping = asyncio.create_task(life.stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            await asyncio.to_thread(process.stop)
        return await running

    async def _made(self, life: _Life, container: str, place: str) -> PodProcess | None:
        """The container's process, once everything that it names is there; None: the pod is to end."""
        while not life.stop.is_set():
            try:
                process = PodProcess(life.pod, self._here, container=container, name=place)
            except KeyError:
                life.waiting = "CreateContainerConfigError"
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                name = container or life.pod.labels["app.kubernetes.io/name"]
                life.processes.pop(name, None)
                life.processes[name] = process
                return process
        return None

    def _forget(self, life: _Life) -> None:
        self._lives.pop(life.name, None)
        with suppress(Refused):
            self._objects.delete(_OF["Pod"], NAMESPACE, life.name)
        self._objects.changed.set()

    def _end_orphans(self) -> None:
        """Pods whose owner is gone, or which were deleted."""
        for life in self._lives.values():
            try:
                self._objects.get(life.owner, NAMESPACE, life.owned_by)
                self._objects.get(_OF["Pod"], NAMESPACE, life.name)
            except Refused:
                life.stop.set()

    def _tell(self) -> None:
        """Says how everything is."""
        for life in self._lives.values():
            self._objects.set_status(_OF["Pod"], NAMESPACE, life.name, _pod_status(life))
        for kind in _WORKLOADS:
            for one in self._objects.list(kind, "", "", ""):
                own = [life for life in self._lives.values() if life.owned_by == one["metadata"]["name"]]
                new = [life for life in own if life.digest == _digest(one)]
                status = _workload_status(one, len(own), len(new), sum(life.ready for life in new))
                self._objects.set_status(kind, NAMESPACE, one["metadata"]["name"], status)
        for one in self._objects.list(_OF["PersistentVolumeClaim"], "", "", ""):
            self._objects.set_status(
                _OF["PersistentVolumeClaim"], NAMESPACE, one["metadata"]["name"], {"phase": "Bound"}
            )
        for one in self._objects.list(_OF["PodDisruptionBudget"], "", "", ""):
            status = {"observedGeneration": one["metadata"]["generation"], "disruptionsAllowed": 1}
            self._objects.set_status(_OF["PodDisruptionBudget"], NAMESPACE, one["metadata"]["name"], status)


def _place(life: _Life) -> str:
    return next(iter(life.processes.values())).name


def _claimed(one: Object) -> list[Object]:
    claims = one["spec"].get("volumeClaimTemplates") or []
    return [
        {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        for claim in claims
    ]


def _digest(one: Object) -> str:
    return hashlib.sha256(json.dumps(one["spec"]["template"], sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind: str, *, holds: bool, reason: str) -> Object:
    return {"type": kind, "status": "True" if holds else "False", "reason": reason}


def _pod_status(life: _Life) -> Object:
    serving = "Ready" if life.ready else life.waiting
    name = life.pod.labels["app.kubernetes.io/name"]
    state: Any = {"running": {}} if life.ready else {"waiting": {"reason": serving}}
    if life.phase in ("Succeeded", "Failed"):
        state = {"terminated": {"exitCode": int(life.phase == "Failed"), "reason": life.phase}}
    return {
        "phase": life.phase,
        "podIP": "127.0.0.1",
        "conditions": [_condition("Ready", holds=life.ready, reason=serving)],
        "containerStatuses": [
            {
                "name": name,
                "ready": life.ready,
                "restartCount": life.restarts,
                "state": state,
                "image": "",
                "imageID": "",
            }
        ],
    }


def _job_status(succeeded: bool) -> Object:
    kind = "Complete" if succeeded else "Failed"
    return {"succeeded": int(succeeded), "conditions": [_condition(kind, holds=True, reason=kind)]}


def _workload_status(one: Object, there: int, new: int, ready: int) -> Object:
    wanted = one["spec"].get("replicas", 1)
    digest = _digest(one)[:8]
    return {
        "observedGeneration": one["metadata"]["generation"],
        "replicas": there,
        "updatedReplicas": new,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": new,
        "currentRevision": digest,
        "updateRevision": digest,
        "conditions": [
            _condition("Available", holds=ready >= wanted, reason="MinimumReplicasAvailable"),
            _condition("Progressing", holds=True, reason="NewReplicaSetAvailable" if ready >= wanted else "Updating"),
        ],
    }


def _usage(pid: int) -> Object:
    """What a process takes; empty: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return {}
    ticks = os.sysconf("SC_CLK_TCK")
    cpu = (int(fields[11]) + int(fields[12])) / ticks / max(uptime_s - int(fields[19]) / ticks, 0.1)
    return {"cpu": f"{cpu * 1000:.0f}m", "memory": f"{int(fields[21]) * os.sysconf('SC_PAGE_SIZE') // 1024}Ki"}
