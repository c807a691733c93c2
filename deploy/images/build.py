"""`python -m deploy.images.build [SERVICE…]`: builds the images of services with docker, podman or buildah.

What the builder's own machine needs to reach an index goes into the build as secrets, by the variables that pip and uv
know it by: certificates (SSL_CERT_FILE), pip's settings (PIP_CONFIG_FILE), uv's (UV_CONFIG_FILE). None of it stays.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.k8s.generate import SERVICES

_ROOT = Path(__file__).parents[2]
_SECRETS = {"certificates": "SSL_CERT_FILE", "pip": "PIP_CONFIG_FILE", "uv": "UV_CONFIG_FILE"}
_BUILDERS = {"docker": ("build",), "podman": ("build", "--layers"), "buildah": ("build", "--layers")}


def build(service: str, *, builder: str, tag: str, arguments: tuple[str, ...] = ()) -> str:
    """Builds `asahi/<service>:tag`; returns its name.

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
    subprocess.run(command, check=True, cwd=_ROOT)
    return image


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", nargs="*", default=SERVICES, help="default: all")
    parser.add_argument("--builder", choices=_BUILDERS, help="default: the first that is installed")
    parser.add_argument("--base", default="python:3.11-slim", help="image to build on")
    parser.add_argument("--tag", default="0.1.0", help="tag of the images, and their version")
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as the builder takes it"
    )
    options = parser.parse_args()
    builder = options.builder or next((name for name in _BUILDERS if shutil.which(name)), "")
    if not builder:
        sys.exit(f"none of {', '.join(_BUILDERS)} is installed")
    revision = subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=_ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    given = (f"BASE={options.base}", f"VERSION={options.tag}", f"REVISION={revision or 'unknown'}", *options.build_arg)
    arguments = tuple(f"--build-arg={one}" for one in given)
    for service in options.service:
        print(build(service, builder=builder, tag=options.tag, arguments=arguments))


if __name__ == "__main__":
    main()
