"""When a certificate ends: the one field of X.509 that is needed, read without a library for all of it."""

import base64
import re
from datetime import UTC, datetime

from prometheus_client import Gauge

CERTIFICATE_EXPIRY = Gauge(
    "asahi_certificate_expiry_timestamp_seconds",
    "When the certificate that this service shows to others ends; no value: it has none.",
    ["use"],
)
_FIRST = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17
_FIELDS_BEFORE_VALIDITY = 3
"""Serial number, signature algorithm, issuer (RFC 5280, 4.1)."""


def expiry_of(pem: bytes) -> datetime:
    """The end (`notAfter`) of the first certificate in `pem`; raises ValueError if there is none."""
    found = _FIRST.search(pem)
    if found is None:
        raise ValueError("no certificate in PEM")
    try:
        return _not_after(base64.b64decode(found[1]))
    except IndexError as error:
        raise ValueError("the certificate is cut off") from error


def _not_after(der: bytes) -> datetime:
    _, start, _ = _element(der, 0)
    _, at, _ = _element(der, start)
    if der[at] == _VERSION:
        at = _element(der, at)[2]
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        at = _element(der, at)[2]
    tag, at, _ = _element(der, at)
    if tag != _SEQUENCE:
        raise ValueError("not the structure of a certificate")
    kind, start, end = _element(der, _element(der, at)[2])
    text = der[start:end].decode("ascii")
    if kind == _UTC_TIME:  # two digits: 1950 to 2049
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content and end of the element at `at`."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[start : start + size]), start + size
    return der[at], start, start + length
