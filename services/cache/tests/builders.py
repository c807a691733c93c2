"""Answers, keys and a running cache service for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import AnswerDelta, AnswerOpening, FinishReason
from asahi_cache import wiring
from asahi_cache.domain.tiers import NewEntry
from asahi_cache.settings import CacheSettings
from asahi_core.clock import SystemClock
from asahi_core.ids import SystemIds

REDIS_CALL_S = 3.0
"""Longer than in production, so that a busy machine is not taken for a broken Redis."""
GUARD_S = 120.0
"""No test waits longer for what must come."""


def digest(number: int) -> bytes:
    """A fingerprint or flight key."""
    return number.to_bytes(32, "big")


def entry(text: str = "42", *, request_id: str = "r-1", given_at_s: float = 1_767_225_600, **labels: Any) -> CacheEntry:
    """A complete answer."""
    built = CacheEntry(reference_model="big", request_id=request_id, **labels)
    built.created_at.FromNanoseconds(int(given_at_s * 1e9))
    built.answer.model, built.answer.provider = "small", "simulator"
    built.answer.finish_reason = FinishReason.FINISH_REASON_STOP
    built.answer.chat.parts.add().text = text
    return built


def new_entry(number: int, *, organization_id: str = "org-1", ttl_s: float = 60, size: int = 1) -> NewEntry:
    """An answer to keep, with `size` characters of text."""
    return NewEntry(organization_id, digest(number), entry("x" * size), ttl_s)


def opening() -> AnswerDelta:
    """The first piece of every flight."""
    return AnswerDelta(opening=AnswerOpening(model="small", provider="simulator", routing_reason="It is the cheapest."))


def text_piece(text: str) -> AnswerDelta:
    """A later piece."""
    return AnswerDelta(text=text)


def settings(**changed: Any) -> CacheSettings:
    """Settings on a port of the system's choice, without the embedding model."""
    chosen = {"grpc_address": "127.0.0.1:0", "shutdown_grace_seconds": 120.0, "embedding_threads": 0, **changed}
    return CacheSettings(**chosen)


@asynccontextmanager
async def serving(
    changed: CacheSettings | None = None, random: Callable[[], float] = lambda: 0.0
) -> AsyncIterator["Serving"]:
    """A cache service that serves on loopback while the block runs."""
    chosen = changed or settings()
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    service = wiring.build(chosen, SystemClock(), SystemIds(), random, log := _log(address), redis_call_s=REDIS_CALL_S)
    running = asyncio.create_task(wiring.run(service, chosen, log, stop))
    try:
        yield Serving(await asyncio.wait_for(address, GUARD_S), service, stop, running)
    finally:
        stop.set()
        await asyncio.wait_for(running, GUARD_S)


class Serving:
    """A running service: where it listens, what it consists of, and how to stop it."""

    def __init__(
        self, address: str, service: wiring.CacheService, stop: asyncio.Event, running: "asyncio.Task[None]"
    ) -> None:
        self.address = address
        self.service = service
        self.stop = stop
        self.running = running


def _log(address: "asyncio.Future[str]") -> FilteringBoundLogger:
    def take_address(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "serving":
            address.set_result(event["address"])
        return event

    wrapper = structlog.make_filtering_bound_logger(0)
    logger = structlog.wrap_logger(structlog.testing.CapturingLogger(), [take_address], wrapper_class=wrapper)
    return cast(FilteringBoundLogger, logger)
