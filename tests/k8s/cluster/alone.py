"""Each service by itself: its own chart with a few lines of values, called over gRPC with certificates."""

import hashlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from asahi.auth.v1 import auth_pb2
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi.billing.v1 import billing_pb2
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi.cache.v1 import cache_pb2
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi.router.v1 import router_pb2
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.errors import AsahiError
from asahi_core.rpc.certificates import CertificateFiles
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import ServiceIdentity
from tests.k8s.cluster.installation import Installation, certificates, prepared_installation

_CALL_S = 10.0


async def _auth(channel: ServiceChannel) -> object:
    stub = AuthServiceStub(channel)
    made = await stub.Signup(auth_pb2.SignupRequest(organization_name="Alone", user_id="tester"))
    request = auth_pb2.AuthenticateRequest(
        key_prefix=made.secret[4:12], key_sha256=hashlib.sha256(made.secret.encode()).digest()
    )
    verdict = (await stub.Authenticate(request)).verdict
    return verdict.organization_id == made.organization_id


async def _cache(channel: ServiceChannel) -> object:
    found = await CacheServiceStub(channel).GetStats(cache_pb2.GetStatsRequest(organization_id="org_alone"))
    return found.entries == 0


async def _router(channel: ServiceChannel) -> object:
    return (await RouterServiceStub(channel).ListModels(router_pb2.ListModelsRequest())).models


async def _billing(channel: ServiceChannel) -> object:
    found = await BillingServiceStub(channel).CheckLedger(billing_pb2.CheckLedgerRequest(organization_id="org_alone"))
    return not found.breaks


_Uses = Callable[[ServiceChannel], Awaitable[object]]
SERVICES: dict[str, tuple[dict[str, Any], int, ServiceDescriptor, _Uses]] = {
    "auth": ({"signup": "open"}, 50051, auth_pb2.DESCRIPTOR.services_by_name["AuthService"], _auth),
    "cache": ({}, 50052, cache_pb2.DESCRIPTOR.services_by_name["CacheService"], _cache),
    "router": (
        {"providers": {"existingSecret": "", "simulatorUrl": "SIMULATOR"}},
        50053,
        router_pb2.DESCRIPTOR.services_by_name["RouterService"],
        _router,
    ),
    "billing": ({}, 50054, billing_pb2.DESCRIPTOR.services_by_name["BillingService"], _billing),
}
"""Values, port and what a client does. The edge is not here: its gRPC is for customers, and TLS ends in front of it."""


async def alone() -> list[str]:
    """Installs each service alone, one after the other; what is wrong."""
    wrong = []
    async with prepared_installation() as installation:
        with tempfile.TemporaryDirectory() as folder:
            files = _client_files(Path(folder))
            for service in SERVICES:
                try:
                    answered = await _use(installation, service, files)
                except AsahiError as error:
                    answered = None
                    wrong.append(f"{service} alone: {error.message}")
                if answered is not None and not answered:
                    wrong.append(f"{service} alone: another answer than was expected")
                print(f"{service} alone: {'answers over TLS' if answered else 'FAILS'}", flush=True)
    return wrong


async def _use(installation: Installation, service: str, files: CertificateFiles) -> object:
    values, port, descriptor, uses = SERVICES[service]
    values = {"replicas": 1, "installation": "asahi", **values}
    if service == "router":
        values["providers"] = {**values["providers"], "simulatorUrl": installation.simulator.url}
    objects = installation.charts.objects(service, values)
    installation.cluster.apply(one for one in objects if one["kind"] != "Pod")
    await installation.cluster.settled(service)
    pod = installation.cluster[service].pods[0]
    identity = ServiceIdentity(files)
    async with ServiceChannel(service, f"{pod.ip}:{port}", descriptor, timeout_s=_CALL_S, identity=identity) as channel:
        return await uses(channel)


def _client_files(folder: Path) -> CertificateFiles:
    """The edge's certificate, of the authority whose certificates the services have."""
    found = certificates()["asahi-edge-tls"]
    for name, content in found.items():
        (folder / name).write_text(content)
    return CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
