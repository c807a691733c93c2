"""Runs the edge, each of whose requests burns as much CPU time more as it says itself: what the guard must notice.

The header is `bench-burn-us`: microseconds of CPU time of the thread, whatever else the machine is about.
"""

import runpy
import sys
import time

from starlette.types import Receive, Scope, Send

from asahi_edge import wiring
from asahi_edge.api import scope

HEADER = "bench-burn-us"


class Burdened(scope.RequestScope):
    """Burns before it serves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the header asks for, then the request."""
        burn_us = sum(int(value) for name, value in scope.get("headers", ()) if name == HEADER.encode())
        until = time.thread_time() + burn_us / 1e6
        while time.thread_time() < until:
            pass
        await super().__call__(scope, receive, send)


def main() -> None:
    """Runs `asahi_edge`."""
    vars(wiring)["RequestScope"] = Burdened
    sys.argv = ["asahi_edge"]
    runpy.run_module("asahi_edge", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
