"""A pod as a process of this machine: what its description says of variables, secrets and files, on loopback.

Only addresses and folders are others: `0.0.0.0:50051` becomes a free port of loopback, a Service's name whatever stands
in its place here, and a mounted volume a folder.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

from tests.installation import free_port
from tests.k8s.objects import Pod
from tests.k8s.rendering import NAMESPACE, Object

_READY_WITHIN_S = 60.0
_OWN = re.compile(r"0\.0\.0\.0:(?P<port>[0-9]+)")
_SERVICE = re.compile(rf"(dns:///)?({NAMESPACE}-)?(?P<name>[a-z]+)\.{NAMESPACE}\.svc:(?P<port>[0-9]+)")
Contents = Mapping[str, Mapping[str, str]]
"""Keys and what they hold, by the name of a Secret or a ConfigMap."""


@dataclass(slots=True)
class Here:
    """This machine in a cluster's place, with secrets and ConfigMaps by name."""

    folder: Path
    secrets: Contents
    configs: Contents = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Variables by service that this machine sets where the pod does not: what the world outside would be."""
    _addresses: dict[tuple[str, int], str] = field(default_factory=dict)

    def address(self, service: str, port: int) -> str:
        """Where a service is, or will be, that has this port in its pod."""
        return self._addresses.setdefault((service, port), f"127.0.0.1:{free_port()}")

    def lead(self, service: str, port: int, target: int) -> None:
        """Has a port of a Service lead to another one of its pod."""
        self._addresses[service, port] = self.address(service, target)


class PodProcess:
    """A container of a pod; its addresses are those that `here` gives, and its folders outlive its restarts."""

    def __init__(self, pod: Pod, here: Here, *, container: str = "", name: str = "") -> None:
        """`container`: the service's own if empty. `name`: of the pod; empty: the service's, whose addresses it has.

        Raises:
            KeyError: a secret, a ConfigMap, or a key of one is not there.
        """
        self.service = pod.labels["app.kubernetes.io/name"]
        container = container or self.service
        self.name = name or self.service
        self._folder = here.folder / self.name
        described = next(one for _, one in pod.containers() if one["name"] == container)
        self._log = self._folder / f"{container}.log"
        self._secrets: dict[Path, str] = {}
        self.mounts = self._mounts(pod, described, here)
        self.refresh_secrets(here.secrets)
        self._environment = {one: os.environ[one] for one in ("PATH", "HOME") if one in os.environ}
        self._environment |= here.extra.get(self.service, {})
        for variable in described.get("env", []):
            if (value := _value(variable, here.secrets)) is not None:
                self._environment[variable["name"]] = self._here(value, here)
        given = described.get("command") or ["python", "-m", f"asahi_{self.service}"]
        self._command = [sys.executable, *(self._here(one, here) for one in given[1:])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has said since it was made."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """Its process; 0: it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def run(self) -> int:
        """Runs it to its end; its exit code."""
        self._spawn()
        assert self._process is not None
        return self._process.wait()

    def start(self) -> None:
        """Starts it; it serves then.

        Raises:
            AssertionError: it ended, or did not serve in time; the message is its log.
        """
        before = len(self.log)
        self._spawn()
        assert self._process is not None
        deadline = time.monotonic() + _READY_WITHIN_S
        while '"serving"' not in (said := self.log[before:]):
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def signal(self, number: Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None, f"{self.name} was never started"
        self._process.send_signal(number)

    def stop(self, number: Signals = SIGTERM) -> None:
        """Ends it, if it runs, and waits until it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(SIGCONT)
        self._process.send_signal(number)
        try:
            self._process.wait(_READY_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(SIGKILL)
            self._process.wait()

    def refresh_secrets(self, secrets: Contents) -> None:
        """Brings what secrets contain to the pod's folders, as kubelet does."""
        for folder, name in self._secrets.items():
            for key, content in secrets[name].items():
                fresh = folder / f"{key}.new"
                fresh.write_text(content)
                fresh.replace(folder / key)

    def _spawn(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._folder, stdout=output, stderr=output
            )

    def _mounts(self, pod: Pod, container: Object, here: Here) -> dict[str, Path]:
        """Folders in the place of mounted volumes."""
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        found = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        for mount in container.get("volumeMounts", []):
            folder = self._folder / mount["name"]
            folder.mkdir(exist_ok=True)
            found[mount["mountPath"]] = folder
            volume = volumes.get(mount["name"], {})  # a claim of a StatefulSet is none of the pod's
            if source := volume.get("secret", {}).get("secretName"):
                self._secrets[folder] = source
            if source := volume.get("configMap", {}).get("name"):
                for key, content in here.configs[source].items():
                    (folder / key).write_text(content)
        return found

    def _here(self, value: str, here: Here) -> str:
        value = _OWN.sub(lambda match: here.address(self.name, int(match["port"])), value)
        value = _SERVICE.sub(lambda match: here.address(match["name"], int(match["port"])), value)
        for path, folder in self.mounts.items():
            if value == path or value.startswith(f"{path}/"):
                return str(folder) + value.removeprefix(path)
        return value


@contextmanager
def running(pod: Pod, here: Here) -> Iterator[None]:
    """Runs the service of a pod, which serves then; raises AssertionError as `PodProcess.start` does."""
    process = PodProcess(pod, here)
    try:
        process.start()
        yield
    finally:
        process.stop()


def _value(variable: Object, secrets: Contents) -> str | None:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"].get("secretKeyRef")
    if source is None:  # a field of the pod: its address
        return "127.0.0.1"
    if source.get("optional"):
        return secrets.get(source["name"], {}).get(source["key"])
    return secrets[source["name"]][source["key"]]
