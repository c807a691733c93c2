"""Podman as this folder needs it: containers by name, in the network namespace of whoever calls."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

_SETTINGS = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
"""For machines without systemd and journal, and for who may not raise limits."""


class PodmanFailed(Exception):
    """A command of podman failed; the message is podman's."""


@cache
def environment() -> dict[str, str]:
    """What podman runs with: settings of whoever calls, else such as need neither systemd nor journal."""
    if os.environ.get("CONTAINERS_CONF"):
        return dict(os.environ)
    path = Path(tempfile.gettempdir()) / f"asahi-containers-{os.getuid()}.conf"
    path.write_text(_SETTINGS + ('runtime = "runc"\n' if shutil.which("runc") else ""))
    return {**os.environ, "CONTAINERS_CONF": str(path)}


async def podman(*arguments: str) -> str:
    """What a command prints.

    Raises:
        PodmanFailed: it ended with another code than 0.
    """
    process = await asyncio.create_subprocess_exec(
        "podman", *arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise PodmanFailed(f"podman {arguments[0]}: {err.decode().strip()}")
    return (out + err if arguments[0] == "logs" else out).decode()


async def inspect(name: str) -> dict[str, Any]:
    """What podman knows of a container or an image."""
    found: list[dict[str, Any]] = json.loads(await podman("inspect", name))
    return found[0]


async def remove(*names: str) -> None:
    """Ends containers at once and forgets them; those that are not there are none."""
    if names:
        await podman("rm", "--force", "--ignore", "--time", "0", *names)
