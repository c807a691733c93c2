"""The router service on loopback for tests: the real server, the real database, a channel to call it."""

import asyncio
import io
import random
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from asahi.router.v1 import router_pb2 as pb
from asahi.router.v1.router_pb2_grpc import RouterServiceStub
from asahi_core.clock import SystemClock
from asahi_core.rpc.channel import ServiceChannel
from asahi_router import wiring
from asahi_router.settings import RouterSettings

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"]
GUARD_S = 120.0


@asynccontextmanager
async def running(data_dir: Path, **settings: Any) -> AsyncIterator[RouterServiceStub]:
    """A service of its own on a free port."""
    chosen = RouterSettings(data_dir=data_dir, grpc_address="127.0.0.1:0", billing_target="127.0.0.1:1", **settings)
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    service = wiring.build(chosen, SystemClock(), random.Random(1).random)
    stop = asyncio.Event()
    serving = asyncio.create_task(wiring.run(service, chosen, _log_that_tells(address), stop))
    try:
        async with asyncio.timeout(GUARD_S):
            target = await address
        async with ServiceChannel("router", target, SERVICE, timeout_s=GUARD_S) as channel:
            yield RouterServiceStub(channel)
    finally:
        stop.set()
        await serving


def _log_that_tells(address: "asyncio.Future[str]") -> FilteringBoundLogger:
    """A log whose line `serving` sets `address`; all else goes nowhere."""

    def read(_logger: object, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "serving":
            address.set_result(event["address"])
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger("debug")
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()), processors=[read], wrapper_class=wrapper
    )
    return logger
