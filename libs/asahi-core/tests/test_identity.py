"""Which service may call what: by certificate and by token, over real connections with real certificates."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from pydantic import SecretStr, ValidationError
from structlog.typing import FilteringBoundLogger

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.errors import InternalError, ServiceUnavailable
from asahi_core.rpc import certificates
from asahi_core.rpc.certificates import CertificateFiles, name_in_certificates
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.expiry import CERTIFICATE_EXPIRY, expiry_of
from asahi_core.rpc.identity import (
    ANONYMOUS,
    TOKEN_METADATA,
    ServiceIdentity,
    identity_of,
    is_loopback,
    may_call,
    open_channel,
)
from asahi_core.rpc.server import serve
from asahi_core.settings import ServiceSettings
from asahi_core.telemetry import Tracing

_GUARD_S = 120.0
_SERVICE = pb.DESCRIPTOR.services_by_name["BillingService"]
_RECORD, _SUMMARY = pb.RecordUsageRequest(), pb.GetCostSummaryRequest()
_CHECK = "/grpc.health.v1.Health/Check"
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_EVERYWHERE = "0.0.0.0:0"
_CODES = {"ok": None, "denied": "PERMISSION_DENIED", "unknown": "UNAUTHENTICATED"}


def _add_billing(server: Any) -> None:
    """Registers two of billing's methods as generated code does; they answer that nothing is there."""

    async def record(request: pb.RecordUsageRequest, context: Any) -> pb.RecordUsageResponse:
        return pb.RecordUsageResponse()

    async def summary(request: pb.GetCostSummaryRequest, context: Any) -> pb.GetCostSummaryResponse:
        return pb.GetCostSummaryResponse()

    def handler(behaviour: Any, request: type[Message]) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, _bytes_of)

    handlers = {
        "RecordUsage": handler(record, pb.RecordUsageRequest),
        "GetCostSummary": handler(summary, pb.GetCostSummaryRequest),
    }
    server.add_registered_method_handlers(_SERVICE.full_name, handlers)


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


@dataclass
class _Running:
    address: str
    logged: list[MutableMapping[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def called_by(self, identity: ServiceIdentity, name: str = "billing") -> AsyncIterator[ServiceChannel]:
        async with ServiceChannel(name, self.address, _SERVICE, timeout_s=_GUARD_S, identity=identity) as channel:
            yield channel

    async def outcomes(self, identity: ServiceIdentity) -> dict[str, str]:
        """How calls of every kind end for a caller."""
        async with self.called_by(identity) as channel:
            billing = BillingServiceStub(channel)
            check = channel.unary_unary(_CHECK, _bytes_of, HealthCheckResponse.FromString)
            reflection = channel.stream_stream(_REFLECTION, _bytes_of, ServerReflectionResponse.FromString)

            async def ask() -> AsyncIterator[ServerReflectionRequest]:
                yield ServerReflectionRequest(list_services="")

            async def reflect() -> None:
                async for _ in reflection(ask()):
                    pass

            return {
                "record": await _outcome(lambda: billing.RecordUsage(_RECORD)),
                "summary": await _outcome(lambda: billing.GetCostSummary(_SUMMARY)),
                "health": await _outcome(lambda: check(HealthCheckRequest())),
                "reflection": await _outcome(reflect),
            }


async def _outcome(call: Callable[[], Any]) -> str:
    try:
        await call()
    except InternalError as error:
        return next(name for name, code in _CODES.items() if code and code in error.message)
    except ServiceUnavailable:
        return "no connection"
    return "ok"


@asynccontextmanager
async def _running(
    identity: ServiceIdentity, address: str = "127.0.0.1:0", health_address: str = ""
) -> AsyncIterator[_Running]:
    stop, logged = asyncio.Event(), list[MutableMapping[str, Any]]()
    served: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        logged.append(event)
        if event["event"] == "serving":
            served.set_result(event["address"])
        return event

    wrapper = structlog.make_filtering_bound_logger(0)
    log = structlog.wrap_logger(structlog.testing.CapturingLogger(), [hear], wrapper_class=wrapper)
    serving = asyncio.create_task(
        serve(
            address,
            [_add_billing],
            stop=stop,
            grace_s=0,
            tracing=Tracing("billing", "", 0.0),
            log=cast(FilteringBoundLogger, log),
            identity=identity,
            health_address=health_address,
        )
    )
    try:
        both: set[asyncio.Future[Any]] = {serving, served}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED, timeout=_GUARD_S)
        if serving.done():
            await serving
        yield _Running(f"127.0.0.1:{served.result().rpartition(':')[2]}", logged)
    finally:
        stop.set()
        if not serving.done():
            await asyncio.wait_for(serving, _GUARD_S)


class _Authority:
    """Signs certificates of services."""

    def __init__(self, name: str = "Asahi test authority") -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = _unsigned(name, name, self.key)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = builder.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256())

    def issue(self, folder: Path, service: str, *, dns_name: str | None = None) -> CertificateFiles:
        """Files of a new certificate, which take the place of those that are there."""
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.DNSName(dns_name or name_in_certificates(service))])
        builder = _unsigned(service, self.name, key).add_extension(alternative, critical=False)
        files = CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        _replace(files.key, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        _replace(files.certificate, builder.sign(self.key, hashes.SHA256()).public_bytes(pem))
        _replace(files.ca, self.certificate.public_bytes(pem))
        return files

    def identity(self, folder: Path, service: str, *, dns_name: str | None = None) -> ServiceIdentity:
        return ServiceIdentity(self.issue(folder / service, service, dns_name=dns_name))


def _unsigned(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_named(name)).issuer_name(_named(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(hours=1))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _replace(path: Path | None, content: bytes) -> None:
    assert path is not None
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def _token(service: str, letter: str = "s") -> str:
    return f"{service}:{letter * 40}"


_ALLOWED = {
    "edge": {"record": "ok", "summary": "ok", "health": "ok", "reflection": "denied"},
    "router": {"record": "ok", "summary": "denied", "health": "denied", "reflection": "denied"},
    "operator": {"record": "denied", "summary": "denied", "health": "ok", "reflection": "ok"},
    "cache": dict.fromkeys(("record", "summary", "health", "reflection"), "unknown"),
}


@pytest.mark.parametrize("service", _ALLOWED)
async def test_a_certificate_opens_what_the_table_says(service: str, tmp_path: Path) -> None:
    authority = _Authority()
    async with _running(authority.identity(tmp_path, "billing")) as running:
        assert await running.outcomes(authority.identity(tmp_path, service)) == _ALLOWED[service]


@pytest.mark.parametrize("service", _ALLOWED)
async def test_a_token_opens_what_the_table_says(service: str) -> None:
    tokens = tuple(_token(name) for name in _ALLOWED)
    async with _running(ServiceIdentity(accepted_tokens=tokens)) as running:
        expected = _ALLOWED[service]
        if service == "cache":  # known by its token, and named nowhere in the table
            expected = dict.fromkeys(expected, "denied")
        assert await running.outcomes(ServiceIdentity(token=_token(service))) == expected


async def test_a_wrong_or_missing_token_opens_nothing_and_none_is_ever_logged() -> None:
    nothing = dict.fromkeys(("record", "summary", "health", "reflection"), "unknown")
    async with _running(ServiceIdentity(accepted_tokens=(_token("edge"),))) as running:
        for token in ("", _token("edge", "t"), _token("router"), _token("edge")[:-1]):
            assert await running.outcomes(ServiceIdentity(token=token)) == nothing
        refusals = [event for event in running.logged if event["event"] == "caller_refused"]
        assert len(refusals) == 4, "each kind of refusal is said once"
        assert "s" * 40 not in repr(running.logged)
        assert "t" * 40 not in repr(running.logged)


async def test_what_probes_a_container_asks_for_health_alone_and_proves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        health_address = f"127.0.0.1:{free.getsockname()[1]}"
    authority = _Authority()
    async with (
        _running(authority.identity(tmp_path, "billing"), health_address=health_address),
        grpc.aio.insecure_channel(health_address) as channel,
    ):
        check = channel.unary_unary(_CHECK, _bytes_of, HealthCheckResponse.FromString)
        assert (await check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        record: Any = channel.unary_unary(f"/{_SERVICE.full_name}/RecordUsage", _bytes_of, None)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await record(_RECORD)
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_health_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            async with _running(ANONYMOUS, health_address=address):
                pytest.fail("it serves")


def test_the_end_of_a_certificate_is_read_and_exported(tmp_path: Path) -> None:
    files = _Authority().issue(tmp_path / "edge", "edge")
    pem = files.certificate.read_bytes()
    ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    assert expiry_of(pem) == ends
    files.read()
    assert CERTIFICATE_EXPIRY.labels("services")._value.get() == ends.timestamp()
    with pytest.raises(ValueError, match="no certificate"):
        expiry_of(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(ValueError, match="cut off"):
        expiry_of(b"-----BEGIN CERTIFICATE-----MIIB-----END CERTIFICATE-----")


async def test_a_token_sent_twice_is_none() -> None:
    async with (
        _running(ServiceIdentity(accepted_tokens=(_token("edge"), _token("router")))) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        sent = ((TOKEN_METADATA, _token("edge")), (TOKEN_METADATA, _token("router")))
        check = channel.unary_unary(_CHECK, _bytes_of, HealthCheckResponse.FromString)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await check(HealthCheckRequest(), metadata=sent)
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_while_tokens_are_rotated_the_old_and_the_new_one_are_accepted() -> None:
    accepted = (_token("edge", "old"), _token("edge", "new"))
    async with _running(ServiceIdentity(accepted_tokens=accepted)) as running:
        for token in accepted:
            assert (await running.outcomes(ServiceIdentity(token=token)))["summary"] == "ok"


async def test_who_shows_no_certificate_or_anothers_gets_no_connection(tmp_path: Path) -> None:
    authority, other = _Authority(), _Authority()
    async with _running(authority.identity(tmp_path, "billing")) as running:
        for caller in (ANONYMOUS, other.identity(tmp_path, "edge")):
            assert (await running.outcomes(caller))["record"] == "no connection"


async def test_a_name_that_only_resembles_a_services_opens_nothing(tmp_path: Path) -> None:
    authority = _Authority()
    async with _running(authority.identity(tmp_path, "billing")) as running:
        caller = authority.identity(tmp_path, "edge", dns_name="edge.asahi.internal.example.com")
        assert (await running.outcomes(caller))["record"] == "unknown"


async def test_a_service_does_not_talk_to_another_that_poses_as_the_one_meant(tmp_path: Path) -> None:
    authority = _Authority()
    async with _running(authority.identity(tmp_path, "cache")) as running:
        assert (await running.outcomes(authority.identity(tmp_path, "edge")))["record"] == "no connection"


async def test_replaced_certificates_serve_without_a_restart(tmp_path: Path) -> None:
    """Both sides move to a new authority, as when the old one is given up."""
    old, new = _Authority(), _Authority()
    billing, edge = old.identity(tmp_path, "billing"), old.identity(tmp_path, "edge")
    async with _running(billing) as running, running.called_by(edge) as standing:
        await BillingServiceStub(standing).RecordUsage(_RECORD)
        new.identity(tmp_path, "billing")
        assert (await running.outcomes(edge))["record"] == "no connection"
        new.identity(tmp_path, "edge")
        assert (await running.outcomes(edge))["record"] == "ok"
        await asyncio.sleep(1.1)  # a standing channel looks at its files once a second
        await BillingServiceStub(standing).RecordUsage(_RECORD)
        assert any(event["event"] == "certificates_read" for event in running.logged)


async def test_an_authority_is_changed_without_a_pause_while_both_are_known(tmp_path: Path) -> None:
    old, new = _Authority(), _Authority("Asahi test authority 2")
    billing, edge = old.identity(tmp_path, "billing"), old.identity(tmp_path, "edge")
    async with _running(billing) as running:
        for identity in (billing, edge):
            assert identity.certificates is not None
            both = [one.certificate.public_bytes(serialization.Encoding.PEM) for one in (old, new)]
            _replace(identity.certificates.ca, b"".join(both))
        assert (await running.outcomes(edge))["record"] == "ok"
        moved = new.issue(tmp_path / "edge", "edge")
        _replace(moved.ca, b"".join(both))
        assert (await running.outcomes(edge))["record"] == "ok"


async def test_half_replaced_certificates_change_nothing(tmp_path: Path) -> None:
    authority = _Authority()
    billing, edge = authority.identity(tmp_path, "billing"), authority.identity(tmp_path, "edge")
    async with _running(billing) as running:
        assert billing.certificates is not None
        billing.certificates.certificate.write_bytes((tmp_path / "edge" / "tls.crt").read_bytes())
        assert (await running.outcomes(edge))["record"] == "ok"
        assert any(event["event"] == "certificates_not_read" for event in running.logged)


async def test_a_channel_that_has_found_nobody_for_a_while_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(certificates, "_OPEN_ANEW_S", 0.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    never = [(f"grpc.{which}_reconnect_backoff_ms", 600_000) for which in ("initial", "min", "max")]
    channel = open_channel("billing", f"dns:///{address}", never, ANONYMOUS)
    check = channel.unary_unary(_CHECK, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await check(HealthCheckRequest(), timeout=_GUARD_S)
    async with _running(ANONYMOUS, address), asyncio.timeout(_GUARD_S):
        status = None
        while status is None:  # the one that was opened last may have found nobody just before
            with suppress(grpc.aio.AioRpcError):
                status = (await check(HealthCheckRequest(), timeout=_GUARD_S)).status
        assert status == HealthCheckResponse.SERVING
        await channel.close()


async def test_a_server_that_others_can_reach_does_not_start_without_identity() -> None:
    with pytest.raises(OSError, match=r"set ASAHI_TLS_CERTIFICATE, .* or ASAHI_ACCEPTED_SERVICE_TOKENS, or listen on"):
        async with _running(ANONYMOUS, _EVERYWHERE):
            pytest.fail("it serves")


async def test_a_server_that_others_can_reach_starts_with_tokens() -> None:
    async with _running(ServiceIdentity(accepted_tokens=(_token("edge"),)), _EVERYWHERE) as running:
        assert (await running.outcomes(ServiceIdentity(token=_token("edge"))))["record"] == "ok"
        assert (await running.outcomes(ANONYMOUS))["record"] == "unknown"


async def test_on_loopback_without_settings_nobody_proves_anything() -> None:
    async with _running(ANONYMOUS) as running:
        assert set((await running.outcomes(ANONYMOUS)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:0", True),
        ("127.8.8.8:1", True),
        ("[::1]:50051", True),
        ("localhost:50051", True),
        ("unix:/run/auth.sock", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        ("10.0.0.7:50051", False),
        ("auth.asahi:50051", False),
        ("127.0.0.1.example.com:1", False),
        (":50051", False),
    ],
)
def test_loopback_is_told_from_all_else(address: str, *, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_kept_responses_are_the_edges_to_ask_for_and_no_other_services() -> None:
    for method in ("KeepResponse", "GetResponse", "GetConversation", "DeleteResponse", "EraseResponses"):
        path = f"/asahi.cache.v1.StoredResponseService/{method}"
        assert [name for name in ("edge", "router", "operator", "nobody") if may_call([name], path)] == ["edge"]


def test_a_rule_for_one_method_covers_no_other_that_begins_alike() -> None:
    assert may_call(["router"], "/asahi.billing.v1.BillingService/RecordUsage")
    assert not may_call(["router"], "/asahi.billing.v1.BillingService/RecordUsageAndMore")
    assert not may_call(["nobody"], "/grpc.health.v1.Health/Check")
    assert not may_call([], "/grpc.health.v1.Health/Check")


def test_settings_that_contradict_each_other_are_told_in_one_line(tmp_path: Path) -> None:
    files = _Authority().issue(tmp_path / "edge", "edge")
    with pytest.raises(OSError, match="set all three or none"):
        identity_of(ServiceSettings(tls_certificate=files.certificate))
    whole: dict[str, Any] = {"tls_certificate": files.certificate, "tls_key": files.key, "tls_ca": files.ca}
    assert identity_of(ServiceSettings(**whole)).certificates == files
    with pytest.raises(OSError, match="set the one or the other"):
        identity_of(ServiceSettings(**whole, service_token=SecretStr(_token("edge"))))
    files.key.write_bytes((_Authority().issue(tmp_path / "other", "edge")).key.read_bytes())
    with pytest.raises(OSError, match="do not fit together"):
        identity_of(ServiceSettings(**whole))
    with pytest.raises(OSError, match=r"cannot read .* \(ASAHI_TLS_CERTIFICATE, .*No such file"):
        identity_of(ServiceSettings(**(whole | {"tls_ca": tmp_path / "none"})))


@pytest.mark.parametrize("token", ["edge", "edge:short", "nobody:" + "s" * 40, "edge:" + "s" * 201, "edge:" + "ü" * 40])
def test_what_is_no_token_is_refused_at_the_start_without_repeating_it(token: str) -> None:
    with pytest.raises(ValidationError, match="a token is 'name:secret'") as raised:
        ServiceSettings(service_token=SecretStr(token))
    assert "s" * 40 not in str(raised.value)


def test_an_identity_keeps_its_secrets_to_itself() -> None:
    settings = ServiceSettings(
        service_token=SecretStr(_token("edge")),
        accepted_service_tokens=SecretStr(f"{_token('edge')},{_token('router')}"),
    )
    identity = identity_of(settings)
    assert identity.accepted_tokens == (_token("edge"), _token("router"))
    assert "s" * 40 not in repr(identity) + repr(settings)
