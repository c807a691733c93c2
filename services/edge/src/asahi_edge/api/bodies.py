"""Bodies of requests: of the declared type, within the limit, in time, and no more at once than there is memory for."""

import asyncio
import re
from collections.abc import Mapping

from fastapi import Request
from starlette.requests import ClientDisconnect

from asahi_core.errors import Cancelled, DeadlineExceeded, RequestTooLarge, UnsupportedMediaType
from asahi_edge.api.door import PLACE
from asahi_edge.api.services import services_of

_JSON = "application/json"
_JSON_IN_UTF8 = re.compile(r"\s*application/json\s*(;\s*charset\s*=\s*\"?utf-?8\"?\s*)?;?\s*", re.IGNORECASE)
_PATIENCE_S = 60.0
_SLOWEST_BYTES_A_SECOND = 16 * 1024
SHARE = "asahi.body"
"""Where the scope of a request has what its body takes of the budget."""


async def read_body(request: Request) -> bytes:
    """The request's body, which is counted as taking memory until the request has ended.

    Raises:
        UnsupportedMediaType: it is declared as something other than JSON in UTF-8, or as compressed.
        RequestTooLarge: it has more bytes than are taken; reading stops there.
        Overloaded: there is no room for it at the moment; nothing of it is read if it says how large it is.
        DeadlineExceeded: it comes more slowly than 16 KiB a second, a minute aside.
        Cancelled: the caller left before its end.
    """
    _require_json(request.headers)
    services = services_of(request)
    limit, place = services.max_body_bytes, request.scope.get(PLACE)
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise RequestTooLarge(f"The body has {length} bytes; at most {limit} are taken.")
    share = services.bodies.share("" if place is None else place.organization_id)
    share.require(int(length) if length.isdigit() else 0)
    request.scope[SHARE] = share
    pieces: list[bytes] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(_PATIENCE_S) as patience:
            async for chunk in request.stream():
                share.add(len(chunk))
                if share.size > limit:
                    raise RequestTooLarge(f"The body has more than {limit} bytes, which is the most that is taken.")
                pieces.append(chunk)
                patience.reschedule(began + _PATIENCE_S + share.size / _SLOWEST_BYTES_A_SECOND)
    except ClientDisconnect as error:
        raise Cancelled("The caller left before the whole body had come.") from error
    except TimeoutError as error:
        message = f"Of the body {share.size} bytes came in {loop.time() - began:.0f} s; send it faster."
        raise DeadlineExceeded(message) from error
    return b"".join(pieces)


def _require_json(headers: Mapping[str, str]) -> None:
    """A body without a declared type is taken for JSON; one that is declared as something else is not guessed at."""
    declared = headers.get("content-type", _JSON)
    if declared != _JSON and not _JSON_IN_UTF8.fullmatch(declared):
        raise UnsupportedMediaType(
            f"The body is declared as {declared[:100]!r}; send JSON with the header 'Content-Type: application/json'."
        )
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMediaType(f"The body is declared as compressed ({encoding[:40]!r}); send it as it is.")
