"""Charts, assembled once, and what helm makes of them."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.documents import ROOT

TOOLS = ROOT / ".venv" / "k8s"
NAMESPACE = "asahi"
Object = dict[str, Any]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Charts:
    """A folder of charts that helm can render."""

    folder: Path

    def helm(self, *arguments: str, values: Values | None = None, version: int = 4) -> subprocess.CompletedProcess[str]:
        """A run of helm 3 or 4; `values` come as a file of their own, after all others."""
        helm = TOOLS / ("helm" if version == 4 else "helm3")
        given = ["--values", "-"] if values is not None else []
        return subprocess.run(
            [helm, *arguments, *given],
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def text(self, chart: str, values: Values, *, profile: str = "", version: int = 4) -> str:
        """What helm renders; an AssertionError says why it does not."""
        more = ["--values", str(self.folder / "asahi" / "profiles" / f"{profile}.yaml")] if profile else []
        arguments = ("template", "asahi", str(self.folder / chart), "--namespace", NAMESPACE, *more)
        done = self.helm(*arguments, values=values, version=version)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self, chart: str, values: Values, *, profile: str = "", version: int = 4) -> list[Object]:
        """The objects that helm renders, in its order."""
        text = self.text(chart, values, profile=profile, version=version)
        return [found for found in yaml.safe_load_all(text) if found]

    def refusal(self, chart: str, values: Values, *, version: int = 4) -> str:
        """Why helm does not render; an AssertionError if it does."""
        done = self.helm("template", "asahi", str(self.folder / chart), values=values, version=version)
        assert done.returncode != 0, "helm rendered it"
        return done.stderr


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of promtool."""
    command = [str(TOOLS / "promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
