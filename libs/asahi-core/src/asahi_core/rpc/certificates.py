"""Certificates of services: read from files, verified, and read again when the files change, without a restart."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from structlog.typing import FilteringBoundLogger

from asahi_core.rpc.expiry import CERTIFICATE_EXPIRY, expiry_of

_TRUST_DOMAIN = "asahi.internal"
_OPEN_ANEW_S = 3.0
"""Longer than a connection to a replica that is there takes."""
_LOOK_AGAIN_S = 1.0
_OLD_CALLS_S = 660.0
"""Calls on a connection with the certificate from before have as long as the longest call may take."""

Stamp = tuple[tuple[int, int, int], ...]


def name_in_certificates(service: str) -> str:
    """The DNS name that a service's certificate carries (SAN), wherever the service runs: `edge.asahi.internal`."""
    return f"{service}.{_TRUST_DOMAIN}"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate with its key, and the authorities that the other side's certificate must come from. PEM."""

    certificate: Path
    key: Path
    ca: Path | None
    """None: the other side shows no certificate, as customers do."""

    @property
    def variables(self) -> str:
        """The settings that name the files, for people."""
        if self.ca is None:
            return "ASAHI_PUBLIC_TLS_CERTIFICATE and ASAHI_PUBLIC_TLS_KEY"
        return "ASAHI_TLS_CERTIFICATE, ASAHI_TLS_KEY and ASAHI_TLS_CA"

    def stamp(self) -> Stamp:
        """Differs once a file has been replaced; raises OSError if one is missing."""
        found = [path.stat() for path in (self.certificate, self.key, self.ca) if path is not None]
        return tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in found)

    def check(self) -> None:
        """Returns if the files can be used.

        Raises:
            OSError: they cannot; the message names the settings.
        """
        try:
            self.read()
        except OSError as error:
            if error.filename is None:
                raise
            raise OSError(f"cannot read {error.filename} ({self.variables}): {error.strerror}") from error

    def read(self) -> "Certificates":
        """The files' contents.

        Raises:
            OSError: one cannot be read, is no PEM, or key and certificate do not belong together; maybe they are being
                replaced.
        """
        stamp = self.stamp()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except ssl.SSLError as error:
            raise OSError(
                f"{self.variables} do not fit together ({error.reason}); give a PEM certificate, its unencrypted key"
                + (", and the authority's certificate" if self.ca is not None else "")
            ) from error
        ca = self.ca.read_bytes() if self.ca is not None else None
        read = Certificates(stamp, self.certificate.read_bytes(), self.key.read_bytes(), ca)
        if self.stamp() != stamp:
            raise OSError("the certificate files were replaced while they were read")
        use = "services" if self.ca is not None else "callers"
        CERTIFICATE_EXPIRY.labels(use).set(expiry_of(read.certificate).timestamp())
        return read


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files contained at one time."""

    stamp: Stamp
    certificate: bytes
    key: bytes
    ca: bytes | None

    def __repr__(self) -> str:
        return "Certificates()"


def server_credentials(files: CertificateFiles, log: FilteringBoundLogger) -> grpc.ServerCredentials:
    """Credentials of a server; with a `ca` it asks each caller for a certificate. New connections see replaced files.

    Raises:
        OSError: the files cannot be used.
    """
    current = files.read()

    def replaced() -> "grpc.ServerCertificateConfiguration | None":
        nonlocal current
        try:
            if files.stamp() == current.stamp:
                return None
            current = files.read()
        except OSError as error:
            log.warning("certificates_not_read", error=str(error))
            return None
        log.info("certificates_read")
        return _configuration(current)

    fetcher = cast(Callable[[], grpc.ServerCertificateConfiguration], replaced)  # None, too, says grpc: no change
    asks = files.ca is not None
    return grpc.dynamic_ssl_server_credentials(_configuration(current), fetcher, require_client_authentication=asks)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = [(certificates.key, certificates.certificate)]
    return grpc.ssl_server_certificate_configuration(pair, root_certificates=certificates.ca)


def _no_password() -> str:
    """Without it, OpenSSL would ask for the password of an encrypted key on the terminal."""
    return ""


class RenewingChannel:
    """A channel to a service; with certificates a secure one, and the other side's must carry the service's name.

    grpc fixes a channel's certificate when it is made; so calls begin on a new channel once the files have changed. And
    grpc waits up to two minutes until it asks again for a name that nobody had; so calls begin on a new channel, too,
    while the present one finds nobody.
    """

    def __init__(
        self, service: str, target: str, options: list[tuple[str, Any]], files: CertificateFiles | None
    ) -> None:
        self._target = target
        named = [("grpc.ssl_target_name_override", name_in_certificates(service))] if files is not None else []
        self._options = [*options, *named]
        self._files = files
        self._looked_at = self._opened_at = 0.0
        self._certificates = files.read() if files is not None else None
        self._channel = self._open()
        self._closing: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    def unary_unary(self, method: str, *codecs: Any) -> Any:
        """As of grpc.aio's channel."""
        return self._renewed(lambda channel: channel.unary_unary(method, *codecs))

    def unary_stream(self, method: str, *codecs: Any) -> Any:
        """As of grpc.aio's channel."""
        return self._renewed(lambda channel: channel.unary_stream(method, *codecs))

    def stream_unary(self, method: str, *codecs: Any) -> Any:
        """As of grpc.aio's channel."""
        return self._renewed(lambda channel: channel.stream_unary(method, *codecs))

    def stream_stream(self, method: str, *codecs: Any) -> Any:
        """As of grpc.aio's channel."""
        return self._renewed(lambda channel: channel.stream_stream(method, *codecs))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As of grpc.aio's channel."""
        return self._current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As of grpc.aio's channel."""
        await self._current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """As of grpc.aio's channel."""
        await self._current().channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Closes the connections, those with certificates from before, too."""
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for channel in (*closing.values(), self._channel):
            await channel.close(grace)

    def _renewed(self, make: Callable[[grpc.aio.Channel], Any]) -> Any:
        """A callable on the channel of the moment."""
        channel = self._channel
        inner = make(channel)

        def call(*requests: Any, **terms: Any) -> Any:
            nonlocal channel, inner
            current = self._current()
            if current is not channel:
                channel, inner = current, make(current)
            return inner(*requests, **terms)

        return call

    def _current(self) -> grpc.aio.Channel:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at = now
            self._renew()
        return self._channel

    def _renew(self) -> None:
        if not self._new_certificates() and not self._finds_nobody():
            return
        old, self._channel = self._channel, self._open()
        self._opened_at = self._looked_at
        task = asyncio.get_running_loop().create_task(old.close(_OLD_CALLS_S))
        self._closing[task] = old
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    def _new_certificates(self) -> bool:
        """Whether the files have changed; what they contain is read then."""
        if self._files is None or self._certificates is None:
            return False
        try:
            if self._files.stamp() == self._certificates.stamp:
                return False
            self._certificates = self._files.read()
        except OSError:  # being replaced; the present certificate serves until that is done
            return False
        return True

    def _finds_nobody(self) -> bool:
        """Whether the channel has failed, and has had time to mend."""
        failed = self._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return failed and self._looked_at - self._opened_at >= _OPEN_ANEW_S

    def _open(self) -> grpc.aio.Channel:
        read = self._certificates
        if read is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        credentials = grpc.ssl_channel_credentials(read.ca, read.key, read.certificate)
        return grpc.aio.secure_channel(self._target, credentials, options=self._options)
