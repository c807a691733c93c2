"""Pages of lists: where one ends, and the opaque token that says so to callers.

A page begins after an item, not after a count, so that items added meanwhile neither repeat nor hide others.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from asahi_core.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Listed(Protocol):
    """Something that is listed, newest first."""

    @property
    def id(self) -> str:
        """Unique among what is listed."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        ...


ListedT = TypeVar("ListedT", bound=Listed)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a list, newest first."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Page(Generic[ListedT]):
    """Some of a list, newest first, and the token of the page after; empty: this was the last."""

    items: tuple[ListedT, ...]
    next_token: str


def page_of(found: Sequence[ListedT], most: int) -> Page[ListedT]:
    """The page of at most `most` of `found`, of which there is one more if there is another page."""
    items = tuple(found[:most])
    return Page(items, _token_after(items[-1]) if len(found) > most else "")


def _token_after(last: Listed) -> str:
    text = f"{(last.created_at - _EPOCH) // _MICROSECOND}.{last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def position_of(token: str) -> Position | None:
    """Where the page named by `token` begins; None: at the newest. Raises InvalidRequest if it is no token of ours."""
    if not token:
        return None
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
        micros, _, last_id = text.partition(".")
        return Position(_EPOCH + int(micros) * _MICROSECOND, last_id)
    except (binascii.Error, ValueError, OverflowError) as error:
        message = "page_token is none that was given out; send `next_page_token` of the page before, unchanged."
        raise InvalidRequest(message, param="page_token") from error
