"""Asahi on the cluster: the production profile with two replicas each, real stores, the provider simulator."""

import copy
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from deploy.k8s.assemble import assemble
from deploy.k8s.generate import SERVICES, WITH_DATABASE
from tests.documents import ROOT
from tests.installation import free_port
from tests.k8s.cluster.cluster import Cluster, running_cluster
from tests.k8s.cluster.network import OUTSIDE
from tests.k8s.rendering import NAMESPACE, Charts, Object
from tests.postgresql import PostgreSQL, postgresql
from tests.redis_server import RedisServer, redis_server
from tests.simulator import SimulatorControl

_STREAMED = {"mode": "slow", "match": {"stream": True}, "params": {"tokens_per_second": 15, "answer_tokens": 100}}
"""A stream takes about seven seconds."""


@dataclass(slots=True)
class Installation:
    """The cluster with Asahi on it, and what stands outside of it."""

    cluster: Cluster
    charts: Charts
    postgresql: PostgreSQL
    redis: RedisServer
    simulator: SimulatorControl
    databases: Mapping[str, str]
    tag: str
    """Of the images."""
    values: dict[str, Any]
    """What is given to the chart beside the profile."""
    planted: Callable[[list[Object]], None] = lambda _objects: None
    """A defect that is put into what helm renders."""

    def upgrade(self, values: Mapping[str, Any] | None = None) -> None:
        """As `helm upgrade` with further values; without them, as `helm rollback`. Test pods are left out."""
        objects = self.charts.objects("asahi", merged(self.values, values or {}), profile="production")
        self.planted(objects)
        self.cluster.apply(one for one in objects if one["kind"] != "Pod")

    def new_books(self) -> None:
        """Lets the provider count from zero."""
        self.simulator.reset()
        self.simulator.rules(_STREAMED)

    @property
    def url(self) -> str:
        """Where callers reach the edges."""
        return f"http://{self.cluster.address('asahi-edge')}"

    async def signup(self) -> tuple[str, dict[str, str]]:
        """A new organisation's id, and the headers of its key."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=30.0) as client:
            answer = await client.post("/signup", json={"org_name": "Cluster", "user_id": "tester"})
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return body["org_id"], {"authorization": f"Bearer {body['api_key']}"}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Values as helm lays one over the other."""
    result = copy.deepcopy(dict(one))
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@cache
def certificates(days: int = 90) -> dict[str, dict[str, str]]:
    """Secrets with a certificate for each service, made by the commands of docs/service-identity.md."""
    page = (ROOT / "docs" / "service-identity.md").read_text(encoding="utf-8")
    commands = re.search(r"^    openssl req -x509.*?\n    done$", page, re.MULTILINE | re.DOTALL)
    assert commands is not None, "docs/service-identity.md no longer says how to make certificates"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ("bash", "-euc", commands[0].replace("-days 90", f"-days {days}")),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        read = {path.name: path.read_text() for path in Path(folder).iterdir()}
    return {
        f"asahi-{name}-tls": {"tls.crt": read[f"{name}.crt"], "tls.key": read[f"{name}.key"], "ca.crt": read["ca.crt"]}
        for name in SERVICES
    }


def secret(name: str, content: Mapping[str, str]) -> Object:
    """A Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": dict(content),
    }


@asynccontextmanager
async def running_installation(
    tag: str, planted: Callable[[list[Object]], None] | None = None
) -> AsyncIterator[Installation]:
    """Asahi, installed and ready; with a defect, if one is `planted`."""
    async with prepared_installation(tag) as installation:
        installation.planted = planted or installation.planted
        installation.upgrade()
        await installation.cluster.settled()
        yield installation


@asynccontextmanager
async def prepared_installation(tag: str) -> AsyncIterator[Installation]:
    """A cluster with the secrets of docs/operations/install.md, and stores; nothing is installed."""
    with ExitStack() as outside:
        folder = Path(outside.enter_context(tempfile.TemporaryDirectory()))
        assemble(folder)
        async with running_cluster() as running:
            database = outside.enter_context(postgresql(OUTSIDE))
            redis = outside.enter_context(redis_server(OUTSIDE))
            simulator = outside.enter_context(_simulator())
            databases = {service: database.create_database(service) for service in WITH_DATABASE}
            installation = Installation(
                running,
                Charts(folder),
                database,
                redis,
                simulator,
                databases,
                tag,
                _values(simulator.url, tag),
            )
            running.apply(_secrets(installation))
            yield installation


def _values(simulator: str, tag: str) -> dict[str, Any]:
    each = {name: {"replicas": 2, "autoscaling": {"enabled": False}} for name in SERVICES if name != "cache"}
    each["cache"] = {"replicas": 2}
    return merged(
        each,
        {
            "global": {"image": {"tag": tag}},
            "auth": {"signup": "open"},
            "edge": {"limits": {"signupsPerMinute": 10000}},
            "router": {"providers": {"existingSecret": "", "simulatorUrl": simulator}},
        },
    )


def _secrets(installation: Installation) -> list[Object]:
    found = {f"asahi-{name}-database": {"url": url} for name, url in installation.databases.items()}
    found |= certificates() | {
        "asahi-auth-audit": {"key": secrets.token_hex(32)},
        "asahi-redis": {"url": installation.redis.url},
        "asahi-edge-admin": {"secret": secrets.token_hex(32)},
    }
    return [secret(name, content) for name, content in found.items()]


@contextmanager
def _simulator() -> Iterator[SimulatorControl]:
    address = f"{OUTSIDE}:{free_port()}"
    environment = {**os.environ, "ASAHI_SIMULATOR_ADDRESS": address, "ASAHI_SIMULATOR_SPEED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "asahi_simulator"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        control = SimulatorControl(f"http://{address}")
        deadline = time.monotonic() + 30
        while True:
            try:
                control.reset()
                break
            except httpx2.TransportError:
                assert time.monotonic() < deadline, "the simulator does not start"
                time.sleep(0.1)
        yield control
    finally:
        process.terminate()
        process.wait()
