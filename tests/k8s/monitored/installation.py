"""The production profile as processes with embedded databases, a real Redis, the provider simulator, and traffic."""

import asyncio
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import httpx2

from asahi.inference.v1.inference_pb2 import InferRequest
from asahi.inference.v1.inference_pb2_grpc import InferenceServiceStub
from asahi_core.rpc.certificates import CertificateFiles
from deploy.k8s.assemble import assemble
from deploy.k8s.generate import SERVICES, WITH_DATABASE
from tests.installation import Process, free_port
from tests.k8s.cluster.installation import certificates, merged
from tests.k8s.monitored.prometheus import Prometheus, faster_rules, prometheus
from tests.k8s.objects import servers_of
from tests.k8s.processes import Contents, Here, PodProcess
from tests.k8s.rendering import Charts, Object
from tests.redis_server import RedisServer, redis_server
from tests.simulator import SimulatorControl

_METRICS, _HTTP, _SIMULATOR = 9090, 8000, 9000
GRPC = {"auth": 50051, "cache": 50052, "router": 50053, "billing": 50054, "edge": 50055}
_PAUSE_S = 0.1
_ASKED_WITHIN_S = 30.0


@dataclass(slots=True)
class Monitored:
    """What runs."""

    here: Here
    objects: list[Object]
    services: dict[str, PodProcess]
    simulator_process: Process
    simulator: SimulatorControl
    redis: RedisServer
    prometheus: Prometheus
    webhooks: int
    """The port of loopback to which webhooks may go."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the first organisation's key."""

    @property
    def url(self) -> str:
        """The edge."""
        return f"http://{self.here.address('edge', _HTTP)}"

    def client(self, headers: Mapping[str, str] | None = None) -> httpx2.Client:
        """Of the first organisation, or with other headers."""
        return httpx2.Client(base_url=self.url, headers=headers or self.headers, timeout=_ASKED_WITHIN_S)

    def signup(self) -> tuple[str, dict[str, str]]:
        """A new organisation's id, and the headers of its key."""
        answer = httpx2.post(f"{self.url}/signup", json={"org_name": "Monitored", "user_id": "sre"}, timeout=30.0)
        assert answer.status_code == 201, answer.text
        return answer.json()["org_id"], {"authorization": f"Bearer {answer.json()['api_key']}"}

    def edges_certificate(self) -> CertificateFiles:
        """With it a client may call what edges may."""
        folder = self.services["edge"].mounts["/etc/asahi/tls"]
        return CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")

    def new_certificates(self, days: int) -> None:
        """Gives each service another certificate, which ends so many days from now."""
        self.here.secrets = {**self.here.secrets, **certificates(days)}
        for service in self.services.values():
            service.refresh_secrets(self.here.secrets)

    def database(self, service: str) -> Path:
        """The file of a service's embedded database."""
        (found,) = self.services[service].mounts["/var/lib/asahi"].glob("*.db")
        return found


class Traffic:
    """Requests of all sorts, one after the other, until it is ended: misses, hits, similar questions, streams, refused
    ones, and calls over gRPC. What becomes of them is for Prometheus to see."""

    def __init__(self, monitored: Monitored) -> None:
        self._monitored = monitored
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._over_http), threading.Thread(target=self._over_grpc)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _over_http(self) -> None:
        with self._monitored.client() as client:
            for number in count():
                if self._stop.wait(_PAUSE_S):
                    return
                for path, body in _bodies(number):
                    _ask(client, path, body)

    def _over_grpc(self) -> None:
        asyncio.run(self._call())

    async def _call(self) -> None:
        address = self._monitored.here.address("edge", GRPC["edge"])
        metadata = tuple(self._monitored.headers.items())
        async with grpc.aio.insecure_channel(address) as channel:
            stub = InferenceServiceStub(channel)
            for number in count():
                if self._stop.is_set():
                    return
                with suppress(grpc.aio.AioRpcError):  # a fault is what is looked at
                    await stub.Infer(InferRequest(prompt=f"Over gRPC {number}?"), metadata=metadata, timeout=5)
                await asyncio.sleep(_PAUSE_S * 5)


def _bodies(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    new = {"prompt": f"What is {number} times seven?", "max_tokens": 40}
    yield "/infer", new
    yield "/infer", new
    if number % 5 == 0:
        yield "/infer", {"prompt": f"what is {number} times SEVEN ?", "max_tokens": 40}
        yield (
            "/v1/chat/completions",
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Hi {number}"}]},
        )
        yield "/infer", {**new, "prompt": f"Stream {number}.", "stream": True}
        yield "/infer", {"prompt": ""}


def _ask(client: httpx2.Client, path: str, body: dict[str, Any]) -> None:
    with suppress(httpx2.TransportError):  # a fault is what is looked at
        client.post(path, json=body)


@contextmanager
def monitored(folder: Path) -> Iterator[Monitored]:
    """Everything, serving and scraped; nothing of it is left."""
    with ExitStack() as stack:
        assemble(folder / "charts")
        redis = stack.enter_context(redis_server())
        webhooks = free_port()
        objects = Charts(folder / "charts").objects("asahi", _values(webhooks), profile="production")
        here = Here(folder / "pods", _secrets(redis))
        simulator = _simulator(here, folder)
        stack.callback(simulator.stop)
        services = {pod.labels["app.kubernetes.io/name"]: PodProcess(pod, here) for pod in servers_of(objects)}
        for name in ("auth", "cache", "billing", "router", "edge"):
            stack.callback(services[name].stop)
            services[name].start()
        targets = {name: here.address(name, _METRICS) for name in services}
        scraping = stack.enter_context(prometheus(folder / "prometheus", targets, faster_rules(objects)))
        control = SimulatorControl(f"http://{here.address('simulator', _SIMULATOR)}")
        built = Monitored(here, objects, services, simulator, control, redis, scraping, webhooks)
        _, built.headers = built.signup()
        yield built


def _values(webhooks: int) -> dict[str, Any]:
    alone = {"replicas": 1, "autoscaling": {"enabled": False}}
    embedded = {"database": {"embedded": True, "existingSecret": ""}}
    each: dict[str, dict[str, Any]] = {name: alone | (embedded if name in WITH_DATABASE else {}) for name in SERVICES}
    each["cache"] = {"replicas": 1} | embedded
    return merged(
        each,
        {
            "auth": {"signup": "open"},
            "cache": {"entries": {"maxBytes": 1024 * 1024}},
            "edge": {
                "spool": {"maxBytes": 1024 * 1024},
                "limits": {"signupsPerMinute": 10_000},
                "extraEnv": [{"name": "ASAHI_ORPHAN_SETTLE_SECONDS", "value": "1"}],
            },
            "billing": {"checkSeconds": 1, "webhooks": {"targets": [f"http://127.0.0.1:{webhooks}"]}},
            "router": {"providers": {"existingSecret": "", "simulatorUrl": "http://simulator.asahi.svc:9000"}},
        },
    )


def _secrets(redis: RedisServer) -> Contents:
    return {
        **certificates(),
        "asahi-auth-audit": {"key": secrets.token_hex(32)},
        "asahi-redis": {"url": redis.url},
        "asahi-edge-admin": {"secret": secrets.token_hex(32)},
    }


def _simulator(here: Here, folder: Path) -> Process:
    address = here.address("simulator", _SIMULATOR)
    environment = {"ASAHI_SIMULATOR_ADDRESS": address, "ASAHI_SIMULATOR_SPEED": "0"}
    process = Process(
        "simulator", "asahi_simulator", environment, folder / "simulator.log", int(address.rpartition(":")[2])
    )
    process.start()
    process.wait_ready()
    return process
