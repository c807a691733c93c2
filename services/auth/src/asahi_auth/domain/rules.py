"""What may be asked of the auth service: lengths, digests, scopes, patterns, times."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime

from asahi_auth.domain.scopes import Scope
from asahi_core.errors import InvalidRequest

MAX_NAME_LENGTH = 200
MAX_EMAIL_LENGTH = 320
MAX_PATTERNS = 100
MAX_PATTERN_LENGTH = 200
MAX_PATTERNS_LENGTH = 4000
"""Characters of all patterns of a key together; comparing those of two keys takes their product of steps."""
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
_PREFIX = re.compile(r"[0-9A-Za-z]{8}", re.ASCII)
_SHA256_BYTES = 32


def check_name(value: str, param: str) -> None:
    """Raises InvalidRequest unless `value` is a label of 1 to 200 characters."""
    if not value.strip():
        raise InvalidRequest(f"{param} is empty; it has 1 to {MAX_NAME_LENGTH} characters.", param=param)
    check_text(value, param, MAX_NAME_LENGTH)


def check_text(value: str, param: str, longest: int) -> None:
    """Raises InvalidRequest if `value` is longer than `longest` characters or contains control characters."""
    if len(value) > longest:
        raise InvalidRequest(f"{param} has {len(value)} characters; at most {longest} are accepted.", param=param)
    control = next((c for c in value if unicodedata.category(c) == "Cc"), None)
    if control is not None:
        message = f"{param} contains the control character U+{ord(control):04X}; leave it out."
        raise InvalidRequest(message, param=param)


def check_digest(prefix: str, sha256: bytes) -> None:
    """Raises InvalidRequest unless both can belong to a key."""
    if _PREFIX.fullmatch(prefix) is None:
        raise InvalidRequest("key_prefix is not 8 base62 characters.", param="key_prefix")
    if len(sha256) != _SHA256_BYTES:
        message = f"key_sha256 has {len(sha256)} bytes; a SHA-256 has {_SHA256_BYTES}."
        raise InvalidRequest(message, param="key_sha256")


def check_scopes(scopes: Collection[Scope]) -> None:
    """Raises InvalidRequest if there is none."""
    if not scopes:
        raise InvalidRequest(f"scopes is empty; name at least one of {', '.join(Scope)}.", param="scopes")


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises InvalidRequest unless these can be the models that a key may use."""
    param = "allowed_models"
    if len(patterns) > MAX_PATTERNS:
        raise InvalidRequest(f"{param} has {len(patterns)} patterns; at most {MAX_PATTERNS} are accepted.", param=param)
    length = sum(map(len, patterns))
    if length > MAX_PATTERNS_LENGTH:
        message = f"{param} has {length} characters in all; at most {MAX_PATTERNS_LENGTH} are accepted."
        raise InvalidRequest(message, param=param)
    for pattern in patterns:
        if not pattern.strip():
            raise InvalidRequest(f"{param} contains an empty pattern; write `*` for all models.", param=param)
        check_text(pattern, param, MAX_PATTERN_LENGTH)


def check_expiry(expires_at: datetime, now: datetime) -> None:
    """Raises InvalidRequest unless `expires_at` is in the future."""
    if expires_at <= now:
        message = f"expires_at is {expires_at.isoformat()}, which is past; it must be in the future."
        raise InvalidRequest(message, param="expires_at")


def page_size(asked: int) -> int:
    """The most keys on a page: `asked`, or 100 for 0; raises InvalidRequest outside 0 to 1000."""
    if not 0 <= asked <= MAX_PAGE_SIZE:
        message = f"page_size is {asked}; it must be 1 to {MAX_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}."
        raise InvalidRequest(message, param="page_size")
    return asked or DEFAULT_PAGE_SIZE
