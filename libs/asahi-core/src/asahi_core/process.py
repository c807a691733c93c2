"""Running a service as a process: event loop, signals, core dumps."""

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable

import uvloop

from asahi_core.memory import give_back, share_arenas

_NEW_CONTAINERS = 10_000
"""How many more there are than at the last look for cycles when the next look is due."""
_GIVE_BACK_EVERY_S = 60.0


def run_service(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `serve(stop)` on uvloop until it returns. SIGTERM and SIGINT set `stop`.

    Core dumps are switched off first: they would hold keys and prompts.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    share_arenas()
    give_back()
    # A request makes hundreds of short-lived containers and hardly a cycle; what was imported is never garbage.
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS)
    uvloop.run(_with_signals(serve))


async def _with_signals(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    giving = asyncio.create_task(_give_back_always())
    try:
        await serve(stop)
    finally:
        giving.cancel()


async def _give_back_always() -> None:
    """Memory that a large body, or a batch of long texts, took and left is another process's again."""
    while True:
        await asyncio.sleep(_GIVE_BACK_EVERY_S)
        await asyncio.to_thread(give_back)
