"""The certificate that callers are shown, and TLS of the edge's HTTP, which sees when the files are replaced."""

import asyncio
import ssl
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from asahi_core.rpc.certificates import CertificateFiles

_LOOK_AGAIN_S = 1.0


def public_certificate(certificate: Path | None, key: Path | None) -> CertificateFiles | None:
    """What callers are shown; None: plain text.

    Raises:
        OSError: one of the two files is not named, or they cannot be used; the message names the settings.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise OSError("ASAHI_PUBLIC_TLS_CERTIFICATE and ASAHI_PUBLIC_TLS_KEY go together: set both or none")
    files = CertificateFiles(certificate, key, ca=None)
    files.check()
    return files


class PublicTls:
    """`context` is for the listener; while `follow` runs, new connections see replaced files."""

    def __init__(self, files: CertificateFiles, log: FilteringBoundLogger) -> None:
        """Raises OSError if the files cannot be used."""
        self._files = files
        self._log = log
        self._stamp, self._current = self._read()
        self.context = self._current
        self.context.sni_callback = self._show

    async def follow(self) -> None:
        """Looks for replaced files, for ever. Those that do not fit together yet are left alone until they do."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            try:
                if self._files.stamp() == self._stamp:
                    continue
                self._stamp, self._current = self._read()
            except OSError as error:
                self._log.warning("certificates_not_read", error=str(error))
                continue
            self._log.info("certificates_read")

    def _read(self) -> tuple[object, ssl.SSLContext]:
        stamp = self._files.read().stamp
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._files.certificate, self._files.key)
        return stamp, context

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called by OpenSSL as each handshake begins, with the name that the caller asked for or without."""
        connection.context = self._current
