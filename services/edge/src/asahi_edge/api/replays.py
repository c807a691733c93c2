"""Answers to requests that bear an `Idempotency-Key`."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from fastapi import Request, Response

from asahi_core.errors import InvalidRequest
from asahi_edge.api.callers import HttpCaller, unless_left
from asahi_edge.api.door import PLACE
from asahi_edge.api.events import open_stream
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.replays import Claim, Produce, Recording

_LONGEST_KEY = 255


class Staying:
    """Nobody who could leave: the answer is wanted whoever waits for it."""

    async def left(self) -> None:
        """Never returns."""
        await asyncio.Event().wait()


def idempotency_key(headers: Mapping[str, str]) -> str:
    """The key; empty: the request may be made as often as it is sent. Raises InvalidRequest."""
    key = headers.get("idempotency-key")
    if key is None:
        return ""
    if not 1 <= len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        message = f"Header idempotency-key: {key[:40]!r} is not 1 to {_LONGEST_KEY} printable ASCII characters."
        raise InvalidRequest(message, param="idempotency-key")
    return key


def claim_of(path: str, headers: Mapping[str, str], key: str, inference: InferenceRequest, body: bytes) -> Claim:
    """The request as one that is made once. What makes it the same: path, body, and the headers that choose a model."""
    digest = hashlib.sha256(path.encode())
    for part in (headers.get("x-asahi-routing", "").encode(), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    verdict = inference.verdict
    return Claim(
        organization_id=inference.organization_id,
        principal_id=verdict.principal_id or verdict.api_key_id,
        key=key,
        body_digest=digest.digest(),
        request_id=inference.request_id,
        user_id=inference.user_id,
    )


async def answer_once(
    request: Request, claim: Claim, produce: Produce, *, stream: bool, error_name: str = ""
) -> Response:
    """The answer that `produce` records, or has recorded for the same claim before."""
    recording, repeated = services_of(request).replays.open(claim, produce)
    place = request.scope.get(PLACE)
    if repeated and place is not None:
        place.leave()  # it only waits for another request
    if stream:
        headers: dict[str, str] = {}
        events = _events(recording, headers, repeated=repeated)
        return await open_stream(request, events, headers, error_name=error_name)
    body = asyncio.ensure_future(recording.whole())
    await unless_left(HttpCaller(request), body, None)
    headers = _headers(recording, repeated=repeated)
    return Response(body.result(), headers=headers, media_type="application/json")


async def record_events(
    request: Request, recording: Recording, events: AsyncGenerator[bytes, None], headers: Mapping[str, str]
) -> None:
    """Records a streamed answer; `headers` is filled before the first event."""
    begun = False
    async with aclosing(events) as coming:
        async for chunk in coming:
            if not begun:
                recording.begin(headers)
                begun = True
            recording.add(chunk)
    recording.is_partial = "error" in request.scope["asahi"]  # it was the last event


async def _events(recording: Recording, headers: dict[str, str], *, repeated: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(recording.chunks()) as chunks:
        async for chunk in chunks:
            headers |= _headers(recording, repeated=repeated)
            yield chunk


def _headers(recording: Recording, *, repeated: bool) -> dict[str, str]:
    replayed = {"idempotent-replayed": "true"} if repeated or recording.replayed else {}
    return recording.headers | replayed
