"""The format of Asahi's API keys: `ask_<8 base62 prefix>_<43 base62 secret><6 base62 CRC32 of all before>`.

The check sum tells a typo without a look-up and lets secret scanners match keys without false alarms. The secret is
kept nowhere: services pass its SHA-256 around.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass

from asahi_core.ids import BASE62, Ids

HASH_SCHEME = "sha256"
_FORMAT = re.compile(r"ask_([0-9A-Za-z]{8})_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)
_PREFIX_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 8, 43, 6


@dataclass(frozen=True, slots=True)
class KeyDigest:
    """What may be known of a key outside the process that received it."""

    prefix: str
    sha256: bytes


def mint_key(ids: Ids) -> str:
    """A new key. 43 base62 characters carry 256 bits."""
    body = f"ask_{ids.token(_PREFIX_LENGTH)}_{ids.token(_SECRET_LENGTH)}"
    return body + _checksum(body)


def digest_key(key: str) -> KeyDigest | None:
    """The digest of a well-formed key, or None if `key` is no key or mistyped."""
    match = _FORMAT.fullmatch(key)
    if match is None or _checksum(key[:-_CHECKSUM_LENGTH]) != key[-_CHECKSUM_LENGTH:]:
        return None
    return KeyDigest(match.group(1), hashlib.sha256(key.encode("ascii")).digest())


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(BASE62))
        digits = BASE62[digit] + digits
    return digits
