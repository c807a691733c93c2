"""Says on which machine, with which versions and how undisturbed a figure was taken."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("grpcio", "uvloop", "uvicorn", "aiohttp", "protobuf")


def load_average() -> float:
    """Processes that wanted to run, on average over the last minute."""
    return os.getloadavg()[0]


def conditions(command: str, load_before: float) -> str:
    """A paragraph for the top of a page of figures; `load_before` is the load average when the run began."""
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {_cpu_model()} ({os.cpu_count()} cores), "
        f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}, {versions}. "
        f"Load average when it began: {load_before:.2f} (anything above 0.3 is somebody else's work)."
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "an unknown CPU"
