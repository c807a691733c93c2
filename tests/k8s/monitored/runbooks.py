"""What an alert's runbook says to look at, looked at while its fault lasts.

Its commands run as they stand; only `kubectl logs` reads the files that processes write here, from the fault's
beginning. What asks a cluster (pods, events, secrets) is left to `tests.k8s.operated`, which types every line.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.k8s.generate import alerts_of
from tests.k8s.monitored.installation import Monitored
from tests.k8s.monitored.prometheus import Alarm
from tests.k8s.operated.pages import OPERATIONS, commands_of

_LOGS = re.compile(
    r"kubectl -n asahi logs -l app\.kubernetes\.io/(?P<key>name|part-of)=(?P<value>\w+)"
    r"(?: --since \w+)? --tail (?P<lines>-?\d+)"
)
_EDGE = "https://YOUR-EDGE"
Beginning = Mapping[str, int]
"""How long each service's log was."""


def beginning(monitored: Monitored) -> Beginning:
    """To be taken before a fault."""
    return {name: len(process.log) for name, process in monitored.services.items()}


def commands(alarm: Alarm) -> list[str]:
    """The lines of an alert's runbook that can be tried here."""
    rules = (rule for group in alerts_of(alarm.service)["groups"] for rule in group["rules"])
    (page,) = {rule["annotations"]["runbook_url"].rpartition("/")[2] for rule in rules if rule["alert"] == alarm.name}
    lines = [line for one in commands_of(OPERATIONS / "runbooks" / page) for line in one.text.splitlines()]
    return [line for line in lines if _LOGS.search(line) or _EDGE in line]


def misled(monitored: Monitored, alarm: Alarm, begun: Beginning) -> Iterator[str]:
    """Commands that show nothing of the fault: that fail, print nothing, or find all components healthy."""
    with TemporaryDirectory() as folder:
        for name, process in monitored.services.items():
            (Path(folder) / name).write_text(process.log[begun[name] :])
        for command in commands(alarm):
            done = subprocess.run(
                ("bash", "-o", "pipefail", "-c", _here(command, monitored)),
                cwd=folder,
                env={**os.environ, "KEY": monitored.headers["authorization"].removeprefix("Bearer ")},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode or not done.stdout.strip():
                yield f"{alarm}: {command}: exit code {done.returncode}, {done.stdout or done.stderr or 'nothing'}"
            elif command.endswith("/health") and not _unwell(done.stdout):
                yield f"{alarm}: {command}: all is well: {done.stdout}"


def _here(command: str, monitored: Monitored) -> str:
    def logs(match: re.Match[str]) -> str:
        files = monitored.services if match["key"] == "part-of" else [match["value"]]
        return f"tail -q -n {'+1' if match['lines'] == '-1' else match['lines']} {' '.join(files)}"

    return _LOGS.sub(logs, command).replace(_EDGE, monitored.url)


def _unwell(health: str) -> list[str]:
    return [name for name, part in json.loads(health)["components"].items() if part["status"] != "healthy"]
