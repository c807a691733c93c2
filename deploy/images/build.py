"""`python -m deploy.images.build [SERVICE…]`: builds the images of services with docker, podman or buildah.

What the builder's own machine needs to reach an index goes into the build as secrets, by the variables that pip and uv
know it by: certificates (SSL_CERT_FILE), pip's settings (PIP_CONFIG_FILE), uv's (UV_CONFIG_FILE). None of it stays.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from deploy.k8s.generate import SERVICES

_ROOT = Path(__file__).parents[2]
_SECRETS = {"certificates": "SSL_CERT_FILE", "pip": "PIP_CONFIG_FILE", "uv": "UV_CONFIG_FILE"}
_BUILDERS = {"docker": ("build",), "podman": ("build", "--layers"), "buildah": ("build", "--layers")}


def build(service: str, *, builder: str, tag: str, arguments: tuple[str, ...] = (), source: Path = _ROOT) -> str:
    """Builds `asahi/<service>:tag` from a folder; returns its name.

    Raises:
        CalledProcessError: the build failed; the builder has said why.
    """
    image = f"asahi/{service}:{tag}"
    secrets = [
        f"--secret=id={name},src={os.environ[variable]}"
        for name, variable in _SECRETS.items()
        if os.environ.get(variable)
    ]
    file = f"--file=services/{service}/Dockerfile"
    command = (builder, *_BUILDERS[builder], f"--tag={image}", file, *secrets, *arguments, ".")
    subprocess.run(command, check=True, cwd=source)
    return image


def extract(commit: str, folder: Path, *parts: str) -> None:
    """Puts what a commit has, or parts of it, into a folder.

    Raises:
        CalledProcessError: git knows no such commit; it has said so.
    """
    packed = subprocess.run(("git", "archive", commit, *parts), cwd=_ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder, filter="data")


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", nargs="*", default=SERVICES, help="default: all")
    parser.add_argument("--builder", choices=_BUILDERS, help="default: the first that is installed")
    parser.add_argument("--base", default="python:3.11-slim", help="image to build on")
    parser.add_argument("--tag", default="0.1.0", help="tag of the images, and their version")
    parser.add_argument("--commit", default="", help="build from this commit, not from the files as they are")
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as the builder takes it"
    )
    options = parser.parse_args()
    builder = options.builder or next((name for name in _BUILDERS if shutil.which(name)), "")
    if not builder:
        sys.exit(f"none of {', '.join(_BUILDERS)} is installed")
    revision = subprocess.run(
        ("git", "rev-parse", options.commit or "HEAD"), cwd=_ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    given = (f"BASE={options.base}", f"VERSION={options.tag}", f"REVISION={revision or 'unknown'}", *options.build_arg)
    arguments = tuple(f"--build-arg={one}" for one in given)
    with tempfile.TemporaryDirectory() as folder:
        if options.commit:
            extract(options.commit, Path(folder))
        source = Path(folder) if options.commit else _ROOT
        for service in options.service:
            print(build(service, builder=builder, tag=options.tag, arguments=arguments, source=source))


if __name__ == "__main__":
    main()
