"""A real Prometheus that scrapes services on loopback and has the charts' rules, their time run faster.

`FASTER`: each duration of a rule (`for`, windows such as `[5m]`, and the seconds that `_age_seconds` is compared with)
is that many times shorter, and services are scraped every second, as if it were every minute. Shares, counts and times
of calls are as they stand.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.installation import free_port
from tests.k8s.objects import of_kind
from tests.k8s.rendering import TOOLS, Object

FASTER = 60
_READY_WITHIN_S = 60.0
_DURATION = re.compile(r"(?P<number>[0-9]+)(?P<unit>ms|[smhd])")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_WINDOW = re.compile(r"\[([0-9a-z]+)\]")
_AGE = re.compile(r"(?P<age>_age_seconds\{[^}]*\}\)?) > (?P<seconds>[0-9]+)")


def faster(duration: str) -> str:
    """A duration of Prometheus, `FASTER` times shorter."""
    match = _DURATION.fullmatch(duration)
    assert match is not None, f"{duration} is no duration that this knows"
    return f"{int(match['number']) * _UNITS_MS[match['unit']] // FASTER}ms"


def faster_query(query: str) -> str:
    """A query whose windows, and ages of what waits, are `FASTER` times shorter."""
    query = _WINDOW.sub(lambda match: f"[{faster(match[1])}]", query)
    return _AGE.sub(lambda match: f"{match['age']} > {int(match['seconds']) / FASTER:g}", query)


def faster_rules(objects: list[Object]) -> Object:
    """The rules of all PrometheusRules, faster, as one file of Prometheus."""
    groups = [group for one in of_kind(objects, "PrometheusRule") for group in one["spec"]["groups"]]
    for group in groups:
        for rule in group["rules"]:
            rule["for"] = faster(rule["for"])
            rule["expr"] = faster_query(rule["expr"])
    return {"groups": groups}


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alert of one service."""

    name: str
    service: str

    def __str__(self) -> str:
        return f"{self.name} ({self.service})"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression has now."""
        answer = httpx2.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10.0)
        body = answer.json()
        assert body["status"] == "success", f"{expression}: {body.get('error')}"
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    def firing(self) -> set[Alarm]:
        """The alerts that fire now."""
        found = self.query('ALERTS{alertstate="firing"}')
        return {Alarm(one["metric"]["alertname"], one["metric"]["service"]) for one in found}


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str], rules: Object) -> Iterator[Prometheus]:
    """Scrapes `targets`, metrics addresses by service, as ServiceMonitors would have it: labels `job` and `pod`."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    config = {
        "global": {"scrape_interval": faster("1m"), "evaluation_interval": "500ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [address], "labels": {"pod": f"{name}-0"}}]}
            for name, address in targets.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    options = ("--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([TOOLS / "prometheus", *options], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _is_ready(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"http://{address}/-/ready", timeout=1.0).status_code == 200
    except httpx2.TransportError:
        return False
