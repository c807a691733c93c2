"""Each service by itself: its own chart with a few lines of values, called over gRPC with certificates.

The edge comes last, for it answers with the four others: its caller has a key, and verifies the edge's certificate.
"""

import hashlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from asahi.auth.v1 import auth_pb2
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi.billing.v1 import billing_pb2
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi.cache.v1 import cache_pb2
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi.inference.v1.inference_pb2 import InferRequest, InferResponse
from asahi.inference.v1.inference_pb2_grpc import InferenceServiceStub
from asahi.router.v1 import router_pb2
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.errors import AsahiError
from asahi_core.rpc.certificates import CertificateFiles
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import ServiceIdentity
from tests.k8s.cluster.installation import Installation, certificates, prepared_installation, secret

_CALL_S = 10.0


async def sign_up(channel: ServiceChannel) -> auth_pb2.SignupResponse:
    """A new organization, asked of auth."""
    return await AuthServiceStub(channel).Signup(auth_pb2.SignupRequest(organization_name="Alone", user_id="tester"))


async def ask_edge(address: str, authority: str, key: str) -> InferResponse:
    """One question over gRPC to an edge that is shown to callers by a certificate of edge.asahi.internal."""
    credentials = grpc.ssl_channel_credentials(authority.encode())
    options = [("grpc.ssl_target_name_override", "edge.asahi.internal")]
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        request = InferRequest(prompt="Why is the sky blue?", max_tokens=16)
        metadata = (("authorization", f"Bearer {key}"),)
        return await InferenceServiceStub(channel).Infer(request, metadata=metadata, timeout=_CALL_S)


async def _auth(channel: ServiceChannel) -> object:
    made = await sign_up(channel)
    request = auth_pb2.AuthenticateRequest(
        key_prefix=made.secret[4:12], key_sha256=hashlib.sha256(made.secret.encode()).digest()
    )
    verdict = (await AuthServiceStub(channel).Authenticate(request)).verdict
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
"""Of those that services call: values, port and what a client does."""
_EDGE_GRPC = 50055


async def alone(tag: str) -> list[str]:
    """Installs each service alone, one after the other; what is wrong."""
    wrong = []
    async with prepared_installation(tag) as installation:
        with tempfile.TemporaryDirectory() as folder:
            identity = ServiceIdentity(_client_files(Path(folder)))
            for service in (*SERVICES, "edge"):
                try:
                    using = (
                        _use_edge(installation, identity)
                        if service == "edge"
                        else _use(installation, service, identity)
                    )
                    if not await using:
                        wrong.append(f"{service} alone: another answer than was expected")
                except (AsahiError, grpc.aio.AioRpcError) as error:
                    wrong.append(f"{service} alone: {error}")
                failed = bool(wrong) and wrong[-1].startswith(f"{service} ")
                print(f"{service} alone: {'FAILS' if failed else 'answers over TLS'}", flush=True)
    return wrong


async def _use(installation: Installation, service: str, identity: ServiceIdentity) -> object:
    if service == "edge":
        return await _use_edge(installation, identity)
    values, port, descriptor, uses = SERVICES[service]
    if service == "router":
        values = {"providers": {**values["providers"], "simulatorUrl": installation.simulator.url}}
    address = f"{await _installed(installation, service, values)}:{port}"
    async with ServiceChannel(service, address, descriptor, timeout_s=_CALL_S, identity=identity) as channel:
        return await uses(channel)


async def _use_edge(installation: Installation, identity: ServiceIdentity) -> object:
    shown = certificates()["asahi-edge-tls"]
    installation.cluster.apply([secret("asahi-public-tls", shown)])
    ip = await _installed(installation, "edge", {"tls": {"existingSecret": "asahi-public-tls"}})
    _, port, descriptor, _ = SERVICES["auth"]
    address = f"{installation.cluster['auth'].pods[0].ip}:{port}"
    async with ServiceChannel("auth", address, descriptor, timeout_s=_CALL_S, identity=identity) as channel:
        key = (await sign_up(channel)).secret
    answer = await ask_edge(f"{ip}:{_EDGE_GRPC}", shown["ca.crt"], key)
    return answer.response and answer.outcome.cost_nanos > 0


async def _installed(installation: Installation, service: str, values: dict[str, Any]) -> str:
    """The address of a service's one pod, which serves."""
    values = {"replicas": 1, "installation": "asahi", "image": {"tag": installation.tag}, **values}
    objects = installation.charts.objects(service, values)
    installation.cluster.apply(one for one in objects if one["kind"] != "Pod")
    await installation.cluster.settled(service)
    return installation.cluster[service].pods[0].ip


def _client_files(folder: Path) -> CertificateFiles:
    """The edge's certificate, of the authority whose certificates the services have."""
    found = certificates()["asahi-edge-tls"]
    for name, content in found.items():
        (folder / name).write_text(content)
    return CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
