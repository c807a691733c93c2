"""A whole installation as real processes on free ports, each of which a test can stop, kill and start again."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

import grpc
import httpx2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

READY_WITHIN_S = 180.0
ADMIN_SECRET = "admin-secret-of-the-tests"
MANY_SIGNUPS = "10000"
"""Tests sign up from one address oftener than anybody may elsewhere."""
SERVICES = ("auth", "cache", "router", "billing")
PATIENT = {"edge": {"ASAHI_CACHE_TIMEOUT_SECONDS": "10", "ASAHI_RESERVE_TIMEOUT_SECONDS": "10"}}
"""Edges that do not take a busy machine's cache and billing for broken ones."""
_NOT_EPHEMERAL = (12_000, 32_000)
_CHANCE = SystemRandom()
"""No two processes that run tests begin with the same ports."""


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to no connection of its own before it is used."""
    while True:
        port = _CHANCE.randrange(*_NOT_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(slots=True)
class Process:
    """One process of the installation."""

    name: str
    module: str
    environment: dict[str, str]
    log: Path
    http_port: int = 0
    grpc_port: int = 0
    popen: "subprocess.Popen[bytes] | None" = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.popen is not None and self.popen.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.popen is not None, f"{self.name} was never started"
        return self.popen.pid

    def start(self) -> None:
        """Starts it without waiting until it is ready."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", self.module], env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self) -> None:
        """Returns when it serves; fails with its log if it ends or takes too long."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._serves():
            assert self.running, f"{self.name} ended at its start:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.tail()}"
            time.sleep(0.02)

    def signal(self, number: Signals) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it at once (SIGKILL)."""
        self.stop(SIGKILL)

    def stop(self, number: Signals = SIGTERM) -> int:
        """Sends a signal that ends it and waits; returns its exit code."""
        assert self.popen is not None, f"{self.name} was never started"
        if self.running:
            self.popen.send_signal(number)
        return self.popen.wait(timeout=READY_WITHIN_S)

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _serves(self) -> bool:
        if self.http_port:
            try:
                path = "/health" if self.module == "asahi_simulator" else "/health/ready"
                return (
                    httpx2.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=1.0, verify=False).status_code == 200
                )
            except httpx2.TransportError:
                return False
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            try:
                check = channel.unary_unary(
                    "/grpc.health.v1.Health/Check",
                    request_serializer=HealthCheckRequest.SerializeToString,
                    response_deserializer=HealthCheckResponse.FromString,
                )
                answer = check(HealthCheckRequest(), timeout=1.0)
            except grpc.RpcError:
                return False
            return bool(answer.status == HealthCheckResponse.SERVING)


@dataclass(slots=True)
class Installation:
    """The processes by name: auth, cache (cache2, …), router, billing, edge (edge2, …), simulator."""

    data: Path
    processes: dict[str, Process] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    @property
    def url(self) -> str:
        """Base URL of the first edge."""
        return self.url_of("edge")

    def url_of(self, edge: str) -> str:
        """Base URL of an edge, or of the simulator."""
        return f"http://127.0.0.1:{self.processes[edge].http_port}"

    @property
    def grpc_target(self) -> str:
        """Address of the first edge's gRPC port."""
        return f"127.0.0.1:{self.processes['edge'].grpc_port}"

    def signup(self, name: str = "Tests") -> "Organization":
        """A new organisation with its first key."""
        answer = httpx2.post(
            f"{self.url}/signup", json={"org_name": name, "user_id": "tester"}, timeout=30.0, verify=False
        )
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return Organization(self, body["org_id"], body["api_key"], body["api_key_id"])

    def start(self) -> None:
        """Starts every process that does not run and waits until all are ready."""
        for process in self.processes.values():
            if not process.running:
                process.start()
        for process in self.processes.values():
            process.wait_ready()

    def stop(self) -> None:
        """Ends every process that runs: edges first, at once if it does not want to."""
        for process in reversed(list(self.processes.values())):
            if process.running:
                process.signal(SIGCONT)
                try:
                    process.stop()
                except subprocess.TimeoutExpired:
                    process.kill()


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation of an installation, and its first key."""

    installation: Installation
    id: str
    key: str
    key_id: str

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates a request."""
        return {"authorization": f"Bearer {self.key}"}

    def client(self, edge: str = "edge") -> httpx2.Client:
        """An HTTP client with the organisation's key. On loopback nobody loads certificates: that takes 20 ms."""
        return httpx2.Client(base_url=self.installation.url_of(edge), headers=self.headers, timeout=60.0, verify=False)

    def async_client(self, edge: str = "edge") -> httpx2.AsyncClient:
        """An asynchronous HTTP client with the organisation's key."""
        limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=1000)
        url = self.installation.url_of(edge)
        return httpx2.AsyncClient(base_url=url, headers=self.headers, timeout=60.0, limits=limits, verify=False)


@contextmanager
def running_installation(
    data: Path,
    *,
    edges: int = 1,
    caches: int = 1,
    simulator: bool = True,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[Installation]:
    """An installation with its data under `data`; `environment` adds variables by process name (`edge` for all).

    `caches`: replicas of the cache service (cache, cache2, …), to which edges are attached in turn.
    """
    environment = environment or {}
    installation = plan_installation(data, edges=edges, caches=caches, simulator=simulator, environment=environment)
    try:
        installation.start()
        yield installation
    finally:
        installation.stop()


def plan_installation(
    data: Path, *, edges: int, simulator: bool, environment: Mapping[str, Mapping[str, str]], caches: int = 1
) -> Installation:
    """The installation, not started yet."""
    data.mkdir(parents=True, exist_ok=True)
    installation = Installation(data)
    ports = {name: free_port() for name in SERVICES}
    targets = {f"ASAHI_{name.upper()}_TARGET": f"127.0.0.1:{port}" for name, port in ports.items()}
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    base |= {"ASAHI_DATA_DIR": str(data), "ASAHI_LOG_LEVEL": "info"}
    own: dict[str, dict[str, str]] = {
        "auth": {"ASAHI_SIGNUP": "open"},
        "router": {name: targets[name] for name in ("ASAHI_BILLING_TARGET", "ASAHI_CACHE_TARGET")},
    }

    def add(name: str, module: str, variables: Mapping[str, str], http_port: int, grpc_port: int) -> None:
        kind = module.removeprefix("asahi_")
        settings = {**base, **variables, **environment.get(kind, {}), **environment.get(name, {})}
        log = data / f"{name}.log"
        installation.processes[name] = Process(name, module, settings, log, http_port, grpc_port)

    if simulator:
        port = free_port()
        variables = {"ASAHI_SIMULATOR_ADDRESS": f"127.0.0.1:{port}", "ASAHI_SIMULATOR_SPEED": "0"}
        add("simulator", "asahi_simulator", variables, port, 0)
        own["router"]["ASAHI_SIMULATOR_URL"] = f"http://127.0.0.1:{port}"
    for name in SERVICES:
        variables = {"ASAHI_GRPC_ADDRESS": f"127.0.0.1:{ports[name]}", **own.get(name, {})}
        add(name, f"asahi_{name}", variables, 0, ports[name])
    cache_ports = [ports["cache"], *(free_port() for _ in range(1, caches))]
    for number, port in enumerate(cache_ports[1:], start=2):
        variables = {"ASAHI_GRPC_ADDRESS": f"127.0.0.1:{port}", "ASAHI_DATA_DIR": str(data / f"cache{number}")}
        add(f"cache{number}", "asahi_cache", variables, 0, port)
    for number in range(1, edges + 1):
        http_port, grpc_port = free_port(), free_port()
        variables = {
            "ASAHI_HTTP_ADDRESS": f"127.0.0.1:{http_port}",
            "ASAHI_GRPC_ADDRESS": f"127.0.0.1:{grpc_port}",
            "ASAHI_ADMIN_SECRET": ADMIN_SECRET,
            "ASAHI_SIGNUPS_PER_MINUTE": MANY_SIGNUPS,
            **targets,
            "ASAHI_CACHE_TARGET": f"127.0.0.1:{cache_ports[(number - 1) % caches]}",
        }
        add("edge" if number == 1 else f"edge{number}", "asahi_edge", variables, http_port, grpc_port)
    return installation
