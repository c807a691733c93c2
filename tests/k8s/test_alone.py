"""Each service by itself: the lines of docs/operations/alone.md, its own chart, a gRPC client with certificates."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from asahi_core.rpc.certificates import CertificateFiles
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import ServiceIdentity
from deploy.k8s.generate import SERVICES
from tests.installation import Process
from tests.k8s.cluster.alone import SERVICES as CALLS
from tests.k8s.cluster.alone import ask_edge, sign_up
from tests.k8s.cluster.installation import certificates
from tests.k8s.objects import servers_of
from tests.k8s.operated.pages import values_alone
from tests.k8s.processes import Here, running
from tests.k8s.rendering import Charts

_MOST_LINES = 5
_CALL_S = 30.0
_EDGE_GRPC, _SIMULATOR = 50055, 9000


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """Certificates as docs/service-identity.md makes them; the edge shows customers one of the same authority."""
    found = {name: dict(content) for name, content in certificates().items()}
    return Here(tmp_path / "pods", found | {"asahi-public-tls": found["asahi-edge-tls"]})


def _objects(charts: Charts, service: str) -> list[dict[str, Any]]:
    """What the chart makes of the page's lines, in a release that is called as the service is."""
    done = charts.helm(
        "template",
        service,
        str(charts.folder / service),
        "--namespace",
        "asahi",
        values=yaml.safe_load(values_alone()[service]),
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def _edges_certificate(folder: Path, secret: Mapping[str, str]) -> CertificateFiles:
    folder.mkdir()
    for name, content in secret.items():
        (folder / name).write_text(content)
    return CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


def test_the_page_has_at_most_five_lines_for_each_service() -> None:
    assert values_alone().keys() == set(SERVICES)
    assert all(len(lines.splitlines()) <= _MOST_LINES for lines in values_alone().values())


async def test_each_service_alone_answers_a_client_with_certificates(
    charts: Charts, here: Here, tmp_path: Path
) -> None:
    identity = ServiceIdentity(_edges_certificate(tmp_path / "client", here.secrets["asahi-edge-tls"]))
    with ExitStack() as stack:
        simulator = _simulator(here, tmp_path)
        stack.callback(simulator.stop)
        for service in ("router", "auth", "cache", "billing"):  # each before those that it calls
            stack.enter_context(running(servers_of(_objects(charts, service))[0], here))
            _, port, descriptor, uses = CALLS[service]
            address = here.address(service, port)
            async with ServiceChannel(service, address, descriptor, timeout_s=_CALL_S, identity=identity) as channel:
                assert await uses(channel), f"{service} answers something else"
                if service == "auth":
                    key = (await sign_up(channel)).secret
        stack.enter_context(running(servers_of(_objects(charts, "edge"))[0], here))
        answer = await ask_edge(here.address("edge", _EDGE_GRPC), here.secrets["asahi-public-tls"]["ca.crt"], key)
        assert answer.outcome.cost_nanos > 0
        assert answer.response


def _simulator(here: Here, folder: Path) -> Process:
    address = here.address("simulator", _SIMULATOR)
    environment = {"ASAHI_SIMULATOR_ADDRESS": address, "ASAHI_SIMULATOR_SPEED": "0"}
    port = int(address.rpartition(":")[2])
    process = Process("simulator", "asahi_simulator", environment, folder / "simulator.log", port)
    process.start()
    process.wait_ready()
    return process
