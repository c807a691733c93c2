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

from tests.installation import free_port
from tests.k8s.objects import Pod
from tests.k8s.rendering import Object

_READY_WITHIN_S = 60.0
_OWN = re.compile(r"0\.0\.0\.0:(?P<port>[0-9]+)")
_SERVICE = re.compile(r"(dns:///)?(?P<name>[a-z0-9-]+)\.[a-z0-9-]+\.svc:(?P<port>[0-9]+)")
Secrets = Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Here:
    """This machine in a cluster's place, with secrets by name."""

    folder: Path
    secrets: Secrets
    _addresses: dict[tuple[str, int], str] = field(default_factory=dict)

    def address(self, service: str, port: int) -> str:
        """Where a service is, or will be, that has this port in its pod."""
        return self._addresses.setdefault((service, port), f"127.0.0.1:{free_port()}")


@contextmanager
def running(pod: Pod, here: Here) -> Iterator[None]:
    """Runs the service of a pod, which serves then; its addresses are those that `here` gives.

    Raises:
        AssertionError: it ended, or did not serve in time; the message is its log.
    """
    name = pod.labels["app.kubernetes.io/name"]
    container = next(one for _, one in pod.containers() if one["name"] == name)
    folder = here.folder / name
    mounts = _mounts(pod, container, folder, here.secrets)
    environment = {one: os.environ[one] for one in ("PATH", "HOME") if one in os.environ}
    for variable in container["env"]:
        if (value := _value(variable, here.secrets)) is not None:
            environment[variable["name"]] = _here(value, name, here, mounts)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"asahi_{name}"], env=environment, cwd=folder, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while '"serving"' not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()  # noqa: PT018
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(_READY_WITHIN_S)


def _mounts(pod: Pod, container: Object, folder: Path, secrets: Secrets) -> dict[str, Path]:
    """Folders in the place of mounted volumes, filled as the pod would find them."""
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    found = {}
    for mount in container["volumeMounts"]:
        here = folder / mount["name"]
        here.mkdir(parents=True)
        found[mount["mountPath"]] = here
        source = volumes[mount["name"]].get("secret", {}).get("secretName")
        for key, content in secrets[source].items() if source else ():
            (here / key).write_text(content)
    return found


def _value(variable: Object, secrets: Secrets) -> str | None:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"].get("secretKeyRef")
    if source is None:  # a field of the pod: its address
        return "127.0.0.1"
    return None if source.get("optional") and source["name"] not in secrets else secrets[source["name"]][source["key"]]


def _here(value: str, name: str, here: Here, mounts: Mapping[str, Path]) -> str:
    value = _OWN.sub(lambda match: here.address(name, int(match["port"])), value)
    value = _SERVICE.sub(lambda match: here.address(match["name"], int(match["port"])), value)
    for path, folder in mounts.items():
        if value == path or value.startswith(f"{path}/"):
            return str(folder) + value.removeprefix(path)
    return value
