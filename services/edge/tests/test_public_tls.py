"""The edge's own certificate, over HTTP and gRPC, as callers see it: a real process without any other service."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from asahi_edge.api.tls import public_certificate

_GUARD_S = 60.0


def _issue(folder: Path) -> str:
    """Puts a new certificate for localhost, which is its own authority, into a folder; its serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(serial := x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _replace(folder / "tls.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    _replace(folder / "tls.crt", made.sign(key, hashes.SHA256()).public_bytes(pem))
    return f"{serial:X}"


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


@dataclass(frozen=True, slots=True)
class _Edge:
    folder: Path
    http: int
    grpc: int
    process: "subprocess.Popen[bytes]"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def serial(self) -> str:
        """Of the certificate that a new HTTPS connection is shown, verified; it answers a request over it, too."""
        context = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        plain = socket.create_connection(("127.0.0.1", self.http), timeout=_GUARD_S)
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert secure.recv(64).startswith(b"HTTP/1.1 200"), self.log()
            shown = secure.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"]).lstrip("0")

    def answers_grpc(self) -> bool:
        """Whether a verified gRPC connection answers who it is well."""
        trusted = grpc.ssl_channel_credentials((self.folder / "tls.crt").read_bytes())
        options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        with grpc.secure_channel(f"127.0.0.1:{self.grpc}", trusted, options=options) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            answer = check(HealthCheckRequest(), timeout=_GUARD_S, wait_for_ready=True)
        return bool(answer.status == HealthCheckResponse.SERVING)


def _until(holds: Callable[[], bool], edge: _Edge) -> None:
    deadline = time.monotonic() + _GUARD_S
    while not holds():
        assert edge.process.poll() is None, edge.log()
        assert time.monotonic() < deadline, edge.log()
        time.sleep(0.05)


@contextmanager
def _running(folder: Path) -> Iterator[_Edge]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        http, rpc = one.getsockname()[1], other.getsockname()[1]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "ASAHI_HTTP_ADDRESS": f"127.0.0.1:{http}",
        "ASAHI_GRPC_ADDRESS": f"127.0.0.1:{rpc}",
        "ASAHI_DATA_DIR": str(folder / "data"),
        "ASAHI_PUBLIC_TLS_CERTIFICATE": str(folder / "tls.crt"),
        "ASAHI_PUBLIC_TLS_KEY": str(folder / "tls.key"),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "asahi_edge"], env=environment, stdout=log, stderr=log)
    try:
        edge = _Edge(folder, http, rpc, process)
        _until(lambda: edge.log().count('"serving"') == 2, edge)
        yield edge
    finally:
        process.terminate()
        process.wait(_GUARD_S)


def test_callers_see_the_certificate_and_a_new_one_without_a_restart(tmp_path: Path) -> None:
    first = _issue(tmp_path)
    with _running(tmp_path) as edge:
        assert f"https://127.0.0.1:{edge.http}" in edge.log()
        assert edge.serial() == first
        assert edge.answers_grpc()
        second = _issue(tmp_path)
        _until(lambda: "certificates_read" in edge.log(), edge)
        assert edge.serial() == second != first
        assert edge.answers_grpc()
        (tmp_path / "tls.key").write_bytes(b"being written")
        _until(lambda: "certificates_not_read" in edge.log(), edge)
        assert edge.serial() == second


def test_plain_text_is_not_answered_where_there_is_a_certificate(tmp_path: Path) -> None:
    _issue(tmp_path)
    with _running(tmp_path) as edge, socket.create_connection(("127.0.0.1", edge.http), timeout=_GUARD_S) as plain:
        plain.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"HTTP/1.1" not in plain.recv(64)


def test_files_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    assert public_certificate(None, None) is None
    _issue(tmp_path)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    with pytest.raises(OSError, match="set both or none"):
        public_certificate(certificate, None)
    with pytest.raises(OSError, match=r"cannot read .*none \(ASAHI_PUBLIC_TLS_CERTIFICATE and ASAHI_PUBLIC_TLS_KEY\)"):
        public_certificate(certificate, tmp_path / "none")
    with pytest.raises(OSError, match="ASAHI_PUBLIC_TLS_KEY do not fit together"):
        public_certificate(certificate, certificate)
    assert public_certificate(certificate, key) is not None
