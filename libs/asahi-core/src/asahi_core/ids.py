"""Ids and randomness as objects that are passed in."""

import secrets
import string
from typing import Protocol

import uuid_utils

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


class Ids(Protocol):
    """Mints ids and secrets."""

    def request_id(self) -> str:
        """A UUIDv7 (RFC 9562): sorts by time."""
        ...

    def token(self, length: int) -> str:
        """`length` base62 characters, unguessable."""
        ...


class SystemIds:
    """Ids from the machine's clock and its cryptographic randomness."""

    def request_id(self) -> str:
        """A UUIDv7 (RFC 9562): sorts by time."""
        return str(uuid_utils.uuid7())

    def token(self, length: int) -> str:
        """`length` base62 characters, unguessable."""
        return "".join(secrets.choice(BASE62) for _ in range(length))
