"""The production profile as processes with embedded databases, a real Redis and the provider simulator."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

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
                "extraEnv": [{"name": "ASAHI_ORPHAN_SETTLE_SECONDS", "value": "6"}],
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
