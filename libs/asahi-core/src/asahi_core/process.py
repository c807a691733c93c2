"""Running a service as a process: event loop, signals, core dumps."""

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable

import uvloop

_NEW_CONTAINERS = 10_000
"""How many more there are than at the last look for cycles when the next look is due."""


def run_service(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `serve(stop)` on uvloop until it returns. SIGTERM and SIGINT set `stop`.

    Core dumps are switched off first: they would hold keys and prompts.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A request makes hundreds of short-lived containers and hardly a cycle; what was imported is never garbage.
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS)
    uvloop.run(_with_signals(serve))


async def _with_signals(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(stop)
