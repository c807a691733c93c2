"""What every inference path does with a question once it has read it: answer it, plain or streamed, or once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request, Response

from asahi_edge.api.answers import inference_headers, note_in_log
from asahi_edge.api.callers import HttpCaller
from asahi_edge.api.events import open_stream
from asahi_edge.api.limits import told_in_headers
from asahi_edge.api.replays import Staying, answer_once, claim_of, idempotency_key, record_events
from asahi_edge.api.services import services_of
from asahi_edge.domain.inference import InferenceRequest, InferenceResult
from asahi_edge.domain.ports import Caller
from asahi_edge.domain.replays import Recording

_LARGE_BYTES = 512 * 1024
"""An answer beyond it is written in a thread: it would hold up others for milliseconds."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a path tells the answer to a question."""

    whole: Callable[[InferenceResult], bytes]
    """A plain answer."""
    events: Callable[[dict[str, str]], AsyncGenerator[bytes, None]] | None = None
    """A streamed one; fills the headers before its first event. None: the path has none."""
    error_name: str = ""
    """Name of the event that ends a stream with an error; empty: it has none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the answer carries besides."""
    naming: Callable[[], AbstractContextManager[None]] = nullcontext
    """Makes errors name fields as the path does."""
    settle: Callable[[InferenceResult], Awaitable[InferenceResult]] | None = None
    """What the path does with a plain answer before it is told; None: nothing."""


async def answer(request: Request, inference: InferenceRequest, body: bytes, told: Told) -> Response:
    """The answer, made once where the request bears an `Idempotency-Key`. `body`: the request's, as it came.

    Raises:
        AsahiError: what ends the request before its first byte.
    """
    once = idempotency_key(request.headers)
    if once:
        claim = claim_of(request.url.path, request.headers, once, inference, body)
        produce = partial(_record, request, inference, told)
        return await answer_once(request, claim, produce, stream=inference.stream, error_name=told.error_name)
    if inference.stream and told.events is not None:
        headers = dict(told.headers)
        return await open_stream(request, told.events(headers), headers, error_name=told.error_name)
    content, headers = await _whole(request, inference, told, HttpCaller(request))
    return Response(content, headers=headers, media_type="application/json")


async def _record(request: Request, inference: InferenceRequest, told: Told, recording: Recording) -> None:
    """Records the answer, whoever waits for it."""
    if inference.stream and told.events is not None:
        headers = dict(told.headers)
        await record_events(request, recording, told.events(headers), headers)
        return
    content, headers = await _whole(request, inference, told, Staying())
    recording.begin(headers)
    recording.add(content)


async def _whole(
    request: Request, inference: InferenceRequest, told: Told, caller: Caller
) -> tuple[bytes, dict[str, str]]:
    with told.naming():
        result = await services_of(request).pipeline.infer(inference, caller, told_in_headers(request))
    note_in_log(request, result)
    if told.settle is not None:
        result = await told.settle(result)
    large = len(result.answer.native.body) > _LARGE_BYTES
    content = await asyncio.to_thread(told.whole, result) if large else told.whole(result)
    return content, {**told.headers, **inference_headers(result)}
