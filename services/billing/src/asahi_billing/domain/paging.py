"""Pages of long lists: how many entries, and opaque tokens that say where the next page begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from asahi_billing.domain.store import OrphanPosition
from asahi_core.errors import InvalidRequest

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page_size(asked: int) -> int:
    """Entries in a page; 0 asks for the default.

    Raises:
        InvalidRequest: outside 0 to `MAX_PAGE_SIZE`.
    """
    if not 0 <= asked <= MAX_PAGE_SIZE:
        message = f"page_size is {asked}; it takes 1 to {MAX_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}."
        raise InvalidRequest(message, param="page_size")
    return asked or DEFAULT_PAGE_SIZE


def token_of_request(request_id: str) -> str:
    """The token of a page that ended with a request."""
    return _encode(request_id)


def request_of_token(token: str) -> str:
    """The request that the page before ended with; empty for an empty token.

    Raises:
        InvalidRequest: no such token was ever given out.
    """
    return _decode(token)


def token_of_orphan(position: OrphanPosition) -> str:
    """The token of a page that ended at `position`."""
    return _encode(f"{position.occurred_at_ns}.{position.id}")


def orphan_of_token(token: str) -> OrphanPosition | None:
    """Where the page before ended; None for an empty token.

    Raises:
        InvalidRequest: no such token was ever given out.
    """
    if not token:
        return None
    at, _, number = _decode(token).partition(".")
    try:
        return OrphanPosition(_int64(at), _int64(number))
    except ValueError as error:
        raise _unknown_token() from error


def _encode(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    try:
        return urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4)).decode()
    except ValueError as error:
        raise _unknown_token() from error


def _int64(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError(text)
    return number


def _unknown_token() -> InvalidRequest:
    message = "page_token is none that this list gave out; begin with an empty one."
    return InvalidRequest(message, param="page_token")
