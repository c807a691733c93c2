"""The billing service as a real process on loopback."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.rpc.channel import ServiceChannel

_SERVICE = pb.DESCRIPTOR.services_by_name["BillingService"]
_GUARD_S = 120


class Process:
    """`python -m asahi_billing` with its ledger in a folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asahi_billing"],
            env={**os.environ, "ASAHI_DATA_DIR": str(folder), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self.served_at = ""
        """Its address, once it serves."""

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def address(self) -> str:
        """Waits until it serves."""
        seen = []
        for line in self._output:
            seen.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                self.served_at = str(event["address"])
                return self.served_at
        raise AssertionError("it ended without serving: " + "".join(seen))

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal; the exit code, and what it printed since it served."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Waits for its end; the exit code, and what it printed."""
        output, _ = self._process.communicate(timeout=_GUARD_S)
        return self._process.returncode, output

    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[tuple[Process, BillingServiceStub]]:
    """A process that serves, and a client of it."""
    process = Process(folder, **settings)
    try:
        async with ServiceChannel("billing", process.address(), _SERVICE, timeout_s=_GUARD_S) as channel:
            yield process, BillingServiceStub(channel)
    finally:
        if not process.ended():
            process.end(signal.SIGKILL)
