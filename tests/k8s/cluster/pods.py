"""Pods, as kubelet runs them: containers before, the container, its probes, its restarts, its end.

A pod's container is ended in three steps: preStop, SIGTERM, and SIGKILL when the grace period is over. A container that
ends by itself is started anew, at once the first time, then after 10 s, 20 s, … An emptyDir lives as long as the pod.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.k8s.cluster.podman import PodmanFailed, inspect, podman, remove
from tests.k8s.cluster.probes import Probes
from tests.k8s.rendering import Object
from tests.k8s.rules_within import quantity

_BACK_OFF_S = 10.0
_LONGEST_BACK_OFF_S = 300.0
_NO_GRACE = 30


@dataclass(frozen=True, slots=True)
class Ground:
    """What pods stand on."""

    network: str
    dns: tuple[str, ...]
    folder: Path
    """Of volumes and logs; anybody may look into it."""
    objects: Callable[[str, str], Object]
    """A ConfigMap or a Secret by kind and name; KeyError: there is none."""
    changed: Callable[[], None]
    """Called when something about a pod has changed."""


@dataclass(slots=True)
class Pod:
    """One pod. `run` is its life; `end` asks for its end."""

    ground: Ground
    name: str
    labels: Mapping[str, str]
    spec: Object
    template: str
    """What it was made from, by hash."""
    ip: str
    mac: str
    claims: Mapping[str, Path] = field(default_factory=dict)
    """Volumes that outlive it, by name."""
    created: float = field(default_factory=time.monotonic)
    ready_since: float | None = None
    terminating: bool = False
    outcome: int | None = None
    """Exit code of a pod that is not started anew, when it has ended."""
    restarts: int = 0
    pid: int = 0
    """Of the container's first process; 0: it does not run."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ready(self) -> bool:
        """Whether it is to get new connections."""
        return self.ready_since is not None and not self.terminating

    @property
    def log(self) -> Path:
        """What its containers have said."""
        return self.ground.folder / "logs" / self.name

    def ports(self) -> dict[str, int]:
        """Ports by name."""
        return {port["name"]: port["containerPort"] for port in self.spec["containers"][0].get("ports", [])}

    def end(self) -> None:
        """Asks for its end: from now on it is led nobody to, soon."""
        self.terminating = True
        self._ending.set()
        self.ground.changed()

    async def run(self) -> None:
        """Its whole life; nothing of it is left after."""
        try:
            for container in self.spec.get("initContainers", []):
                if not await self._before(container):
                    return
            await self._serve(self.spec["containers"][0])
        finally:
            self.ready_since, self.pid = None, 0
            shutil.rmtree(self._folder, ignore_errors=True)
            self.gone.set()
            self.ground.changed()

    async def _before(self, container: Object) -> bool:
        """Whether an init container has done its work; it is tried until it has, or the pod is to end."""
        waits = 0.0
        while not self._ending.is_set():
            name = await self._start(container)
            code = await self._until_exit(name, container, asyncio.Event())
            if code == 0 and not self._ending.is_set():
                return True
            waits = await self._back_off(waits)
        return False

    async def _serve(self, container: Object) -> None:
        waits = 0.0
        while not self._ending.is_set():
            name = await self._start(container)
            probes = Probes(self.ip, container, self.ports(), self._says)
            unwell = asyncio.Event()
            probing = asyncio.create_task(probes.run(unwell.set))
            try:
                code = await self._until_exit(name, container, unwell)
            finally:
                probing.cancel()
                self._says(ready=False)
            if self.spec.get("restartPolicy") == "Never":
                self.outcome = code
                self.ground.changed()
                return
            if not self._ending.is_set():
                self.restarts += 1
                waits = await self._back_off(waits)

    def _says(self, *, ready: bool) -> None:
        if ready != (self.ready_since is not None):
            self.ready_since = time.monotonic() if ready else None
            self.ground.changed()

    async def _back_off(self, waits: float) -> float:
        """Waits; returns how long next time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), timeout=waits)
        return min(max(waits * 2, _BACK_OFF_S), _LONGEST_BACK_OFF_S)

    async def _start(self, container: Object) -> str:
        name = f"{self.ground.network}-{self.name}-{container['name']}"
        await podman("run", "--detach", "--name", name, *self._arguments(container))
        self.pid = int((await inspect(name))["State"]["Pid"])
        return name

    async def _until_exit(self, name: str, container: Object, unwell: asyncio.Event) -> int:
        """The exit code of a container, which has ended by itself, or been ended with its pod or as `unwell`."""
        try:
            exited = asyncio.create_task(_exit_of(self.pid))
            reasons = {asyncio.create_task(event.wait()) for event in (self._ending, unwell)}
            await asyncio.wait({exited, *reasons}, return_when=asyncio.FIRST_COMPLETED)
            for reason in reasons:
                reason.cancel()
            if not exited.done():
                await self._stop(exited, container)
            await exited
            self.pid = 0
            code = int((await podman("wait", name)).strip())
            with self.log.open("a") as log:
                log.write(await podman("logs", name) + f"— {container['name']} ended with {code}\n")
            return code
        finally:
            await remove(name)

    async def _stop(self, exited: "asyncio.Task[None]", container: Object) -> None:
        grace = self.spec.get("terminationGracePeriodSeconds", _NO_GRACE)
        until = time.monotonic() + grace
        if hook := container.get("lifecycle", {}).get("preStop"):
            await asyncio.wait({exited}, timeout=hook["sleep"]["seconds"])
        if not exited.done():
            self._kill(signal.SIGTERM)
            await asyncio.wait({exited}, timeout=max(until - time.monotonic(), 0))
        if not exited.done():
            self._kill(signal.SIGKILL)

    def _kill(self, number: signal.Signals) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def _folder(self) -> Path:
        return self.ground.folder / "pods" / self.name

    def _arguments(self, container: Object) -> list[str]:
        pod, own = self.spec.get("securityContext", {}), container.get("securityContext", {})
        if pod.get("runAsNonRoot") and not pod.get("runAsUser"):
            raise PodmanFailed(f"{self.name}: runAsNonRoot without a user is not known here")
        arguments = [f"--network={self.ground.network}", f"--ip={self.ip}", f"--mac-address={self.mac}"]
        arguments += [f"--hostname={self.name}", *self.ground.dns]
        if "runAsUser" in pod:
            arguments.append(f"--user={pod['runAsUser']}:{pod.get('runAsGroup', 0)}")
        if "fsGroup" in pod:
            arguments.append(f"--group-add={pod['fsGroup']}")
        if own.get("readOnlyRootFilesystem"):
            arguments += ["--read-only", "--read-only-tmpfs=false"]
        arguments += [f"--cap-drop={name}" for name in own.get("capabilities", {}).get("drop", [])]
        if own.get("allowPrivilegeEscalation") is False:
            arguments.append("--security-opt=no-new-privileges")
        resources = container.get("resources", {})
        if memory := quantity(resources.get("limits", {}).get("memory")):
            arguments += [f"--memory={int(memory)}", f"--memory-swap={int(memory)}"]
        if cpu := quantity(resources.get("requests", {}).get("cpu")):
            arguments.append(f"--cpu-shares={max(int(cpu * 1024), 2)}")
        arguments += [f"--env={name}={value}" for name, value in self._environment(container)]
        for mount in container.get("volumeMounts", []):
            options = "ro" if mount.get("readOnly") else "rw"
            arguments.append(f"--volume={self._volume(mount['name'])}:{mount['mountPath']}:{options}")
        if "command" in container:
            arguments.append(f"--entrypoint={json.dumps(container['command'])}")
        return [*arguments, container["image"]]

    def _environment(self, container: Object) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for variable in container.get("env", []):
            if "valueFrom" not in variable:
                found.append((variable["name"], _expanded(variable.get("value", ""), dict(found))))
                continue
            if "fieldRef" in variable["valueFrom"]:
                path = variable["valueFrom"]["fieldRef"]["fieldPath"]
                if path != "status.podIP":
                    raise PodmanFailed(f"{self.name}: fieldRef of {path} is not known here")
                found.append((variable["name"], self.ip))
                continue
            reference = variable["valueFrom"]["secretKeyRef"]
            try:
                value = self.ground.objects("Secret", reference["name"])["stringData"][reference["key"]]
            except KeyError:
                if reference.get("optional"):
                    continue
                raise PodmanFailed(f"{self.name}: there is no key {reference['key']} in {reference['name']}") from None
            found.append((variable["name"], value))
        return found

    def _volume(self, name: str) -> Path:
        """The folder of a volume, made when it is first asked for."""
        if name in self.claims:
            return self._open(self.claims[name], 0o2777)
        volume = next(one for one in self.spec["volumes"] if one["name"] == name)
        folder = self._folder / name
        if "emptyDir" in volume:
            return self._open(folder, 0o2777)
        kind, reference = ("Secret", "secret") if "secret" in volume else ("ConfigMap", "configMap")
        source = volume[reference]
        content = self.ground.objects(kind, source.get("secretName") or source["name"])
        self._open(folder, 0o755)
        for key, text in content.get("stringData" if kind == "Secret" else "data", {}).items():
            path = folder / key
            path.write_text(text)
            os.chown(path, 0, self.spec.get("securityContext", {}).get("fsGroup", 0))
            path.chmod(source.get("defaultMode", 0o644))
        return folder

    def _open(self, folder: Path, mode: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, self.spec.get("securityContext", {}).get("fsGroup", 0))
        folder.chmod(mode)
        return folder


async def _exit_of(pid: int) -> None:
    """Returns when a process has ended; 0: before anybody could ask for it."""
    if not pid:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _expanded(value: str, before: Mapping[str, str]) -> str:
    """With `$(NAME)` replaced where a variable of that name stands before it."""
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda match: before.get(match[1], match[0]), value)
