"""The images as they run: `python -m tests.k8s.images` prints sizes, start times, memory, and exits with 1 at a fault.

Each starts as in its chart (its user, read-only root, no capability, no new privileges), with the memory that the
production profile requests as its limit, and ends at SIGTERM. Every layer beyond the base is read for what must not be
in it. It needs podman, root, and the images of `make images`.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.k8s.assemble import assemble
from deploy.k8s.generate import SERVICES
from tests.k8s.cluster.podman import inspect, podman, remove
from tests.k8s.objects import servers_of
from tests.k8s.rendering import Charts
from tests.k8s.rules_within import quantity

_MOST_MB = {"cache": 342, "router": 200}
"""Beyond the base; of the others 150. 22 of the cache's are the embedding model, 60 of the router's numpy."""
_WITHIN_S = 60.0
_TOOLS = re.compile(
    r"(^|/)(pip|uv|uvx|gcc|g\+\+|cc|c\+\+|clang|ld|make|setuptools|pip-[^/]*\.dist-info|direct_url\.json)$"
)
_CERTIFICATES_OF = re.compile(r"site-packages/(grpc/_cython/_credentials/roots\.pem|certifi/cacert\.pem)$")
"""Public authorities that packages bring."""
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*[A-Za-z0-9+/]{40}")
_INDEX = re.compile(rb"(?i)(pypi\.org/simple|files\.pythonhosted\.org|(extra-)?index-url *=|find-links *=)")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s*[A-Za-z0-9+/]{40}")


@dataclass(frozen=True, slots=True)
class Figures:
    """What an image is and takes."""

    service: str
    megabytes: float
    """Beyond the base, 10^6 bytes."""
    requested_mib: int
    started_s: float
    resident_mib: float


async def look_at(service: str, image: str, base: str, requested: int) -> tuple[Figures, list[str]]:
    """The figures of an image, and its faults. `requested`: bytes of memory."""
    found, under = await inspect(image), await inspect(base)
    faults = list(_faults_of_settings(found["Config"]))
    beyond = (found["Size"] - under["Size"]) / 1e6
    faults += [fault async for fault in _faults_of_layers(image, len(under["RootFS"]["Layers"]))]
    started, resident, more = await _run(service, image, requested)
    return Figures(service, beyond, requested >> 20, started, resident), faults + more


def _faults_of_settings(config: dict[str, object]) -> Iterator[str]:
    if not re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", str(config.get("User"))):
        yield f"its user is {config.get('User')!r}, not a numeric one other than 0"
    labels = config.get("Labels") or {}
    assert isinstance(labels, dict)
    for name in ("title", "description", "version", "revision"):
        if not labels.get(f"org.opencontainers.image.{name}"):
            yield f"it has no label {name}"
    if _INDEX.search(json.dumps(config.get("Env")).encode()):
        yield "its environment names a package index"


async def _faults_of_layers(image: str, of_base: int) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tar"
        await podman("save", "--format", "docker-archive", "--output", str(path), image)
        with tarfile.open(path) as archive:
            listed = archive.extractfile("manifest.json")
            assert listed is not None
            for layer in json.load(listed)[0]["Layers"][of_base:]:
                with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                    for fault in faults_of_files(files):
                        yield fault


def faults_of_files(files: tarfile.TarFile) -> Iterator[str]:
    """What of a layer must not be in an image: tools, keys, certificates, addresses of indexes."""
    has_bill = False
    for member in files:
        has_bill = has_bill or member.name.endswith("opt/venv/sbom.cdx.json")
        if _TOOLS.search(member.name):
            yield f"it holds {member.name}"
        opened = files.extractfile(member) if member.isfile() else None
        if opened is None:
            continue
        content = opened.read()
        if _PRIVATE_KEY.search(content):
            yield f"a private key is in {member.name}"
        if not member.name.endswith((".py", ".pyc", ".so")) and _INDEX.search(content):
            yield f"the address of an index is in {member.name}"
        if _CERTIFICATE.search(content) and not _CERTIFICATES_OF.search(member.name):
            yield f"a certificate is in {member.name}"
    if not has_bill and any("opt/venv/" in name for name in files.getnames()):
        yield "it has no bill of materials"


async def _run(service: str, image: str, requested: int) -> tuple[float, float, list[str]]:
    """Seconds until it served, MiB then resident, and faults."""
    name = f"asahi-image-{service}-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        volumes = [f"--volume={_open_folder(Path(folder), at[1:])}:{at}" for at in ("/var/lib/asahi", "/tmp")]  # noqa: S108
        begun = time.monotonic()
        await podman(
            "run", "--detach", "--name", name, "--network", "none", "--read-only", "--read-only-tmpfs=false",
            "--cap-drop", "all", "--security-opt", "no-new-privileges", "--memory", str(requested),
            "--memory-swap", str(requested), *volumes, "--env", "ASAHI_HEALTH_ADDRESS=127.0.0.1:50060",
            "--env", "ASAHI_SIMULATOR_URL=http://127.0.0.1:9", image,
        )  # fmt: skip
        try:
            return await _look_at_running(name, begun)
        finally:
            await remove(name)


def _open_folder(under: Path, name: str) -> Path:
    """An emptyDir: anybody may write there."""
    under.chmod(0o755)
    folder = under / name.replace("/", "-")
    folder.mkdir()
    folder.chmod(0o2777)
    return folder


async def _look_at_running(name: str, begun: float) -> tuple[float, float, list[str]]:
    while '"event":"serving"' not in (log := await podman("logs", name)):
        if time.monotonic() - begun > _WITHIN_S or not (await inspect(name))["State"]["Running"]:
            return 0.0, 0.0, [f"it did not start: {log[-1000:]}"]
        await asyncio.sleep(0.05)
    started = time.monotonic() - begun
    pid = (await inspect(name))["State"]["Pid"]
    status = status_of(pid)
    faults = [
        f"{key} is {status[key].split()[0]}, not {wanted}"
        for key, wanted in {"Uid": "10001", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}.items()
        if status[key].split()[0] != wanted
    ]
    os.kill(pid, signal.SIGTERM)
    code = (await podman("wait", name)).strip()
    if code != "0":
        faults.append(f"it ended with {code} at SIGTERM")
    return started, int(status["VmRSS"].split()[0]) / 1024, faults


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


async def main() -> int:
    """All images, one after the other; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="python:3.11-slim", help="image that they were built on")
    parser.add_argument("--tag", default="0.1.0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        assemble(Path(folder))
        pods = servers_of(Charts(Path(folder)).objects("asahi", {}, profile="production"))
    requested = {
        pod.labels["app.kubernetes.io/name"]: pod.spec["containers"][0]["resources"]["requests"]["memory"]
        for pod in pods
    }
    print(f"load average {os.getloadavg()[0]:.1f}")
    print("| service | beyond the base | serves after | memory then | requested |\n| --- | --: | --: | --: | --: |")
    wrong = 0
    for service in SERVICES:
        amount = quantity(requested[service])
        assert amount is not None
        image = f"asahi/{service}:{options.tag}"
        figures, faults = await look_at(service, image, options.base, int(amount))
        if figures.megabytes > (most := _MOST_MB.get(service, 150)):
            faults.append(f"it has {figures.megabytes:.0f} MB beyond the base, more than {most}")
        print(
            f"| {service} | {figures.megabytes:.0f} MB | {figures.started_s:.1f} s | {figures.resident_mib:.0f} MiB "
            f"| {figures.requested_mib} MiB |",
            flush=True,
        )
        for fault in faults:
            print(f"{service}: {fault}", flush=True)
        wrong += len(faults)
    print(f"{wrong} faults")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
