"""Pages of keys: where one ends, and the opaque token that says so to callers.

A page begins after a key, not after a count, so that keys added meanwhile neither repeat nor hide others.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asahi_auth.domain.organizations import ApiKey
from asahi_core.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an organisation's keys, newest first."""

    created_at: datetime
    key_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """Keys, newest first, and the token of the page after; empty: this was the last."""

    keys: tuple[ApiKey, ...]
    next_token: str


def token_after(key: ApiKey) -> str:
    """The token of the page that begins after `key`."""
    text = f"{(key.created_at - _EPOCH) // _MICROSECOND}.{key.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def position_of(token: str) -> Position | None:
    """Where the page named by `token` begins; None: at the newest. Raises InvalidRequest if it is no token of ours."""
    if not token:
        return None
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
        micros, _, key_id = text.partition(".")
        return Position(_EPOCH + int(micros) * _MICROSECOND, key_id)
    except (binascii.Error, ValueError, OverflowError) as error:
        message = "page_token is none that was given out; send `next_page_token` of the page before, unchanged."
        raise InvalidRequest(message, param="page_token") from error
