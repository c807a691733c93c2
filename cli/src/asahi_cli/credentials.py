"""The file `credentials` of laptop mode: what its user needs to call it. KEY=VALUE lines that a shell can source."""

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

FILE_NAME = "credentials"
_HEADER = "# Written by `asahi up`: keep it to yourself. In a shell: set -a; . ./credentials; set +a\n"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where Asahi is, and what opens it. Empty: not known yet."""

    url: str = ""
    organization_id: str = ""
    api_key: str = field(default="", repr=False)
    admin_secret: str = field(default="", repr=False)


_VARIABLES = {
    "url": "ASAHI_URL",
    "organization_id": "ASAHI_ORGANIZATION_ID",
    "api_key": "ASAHI_API_KEY",
    "admin_secret": "ASAHI_ADMIN_SECRET",
}


def read_credentials(data_dir: Path) -> Credentials:
    """What `data_dir` keeps; empty credentials if it keeps none.

    Raises:
        OSError: the file is there but cannot be read.
    """
    try:
        text = (data_dir / FILE_NAME).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return Credentials()
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    known = {name.strip(): _unquoted(value) for name, value in pairs}
    return Credentials(**{name: known.get(variable, "") for name, variable in _VARIABLES.items()})


def write_credentials(data_dir: Path, credentials: Credentials) -> None:
    """Replaces the file in one step; only its owner may read it, at every instant."""
    lines = [f"{variable}={shlex.quote(getattr(credentials, name))}\n" for name, variable in _VARIABLES.items()]
    fresh = data_dir / f".{FILE_NAME}.new"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_HEADER + "".join(lines))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(data_dir / FILE_NAME)


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value))
    except ValueError:  # a quote that a hand left open
        return value.strip()
