"""The simulator as a process of its own, and what tests do to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

_GUARD_S = 60.0


class RunningSimulator:
    """A simulator that serves on `url`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self._http = httpx2.Client(base_url=url, timeout=_GUARD_S, verify=False)

    def rules(self, *rules: dict[str, Any]) -> None:
        """Puts `rules` in force."""
        self._http.put("/control", json=list(rules)).raise_for_status()

    def state(self) -> list[dict[str, Any]]:
        """The rules with their counts."""
        rules: list[dict[str, Any]] = self._http.get("/control").json()["rules"]
        return rules

    def calls(self, **query: Any) -> list[dict[str, Any]]:
        """The calls so far."""
        calls: list[dict[str, Any]] = self._http.get("/control/calls", params=query).json()["calls"]
        return calls

    def totals(self) -> dict[str, int]:
        """The totals so far."""
        totals: dict[str, int] = self._http.get("/control/calls").json()["totals"]
        return totals

    def reset(self) -> None:
        """Forgets rules, calls and cached prefixes."""
        self._http.delete("/control").raise_for_status()

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """GETs `path`."""
        return self._http.get(path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """POSTs `body`, as JSON unless it is bytes."""
        if isinstance(body, bytes):
            return self._http.post(path, content=body, headers=headers)
        return self._http.post(path, json=body, headers=headers)

    def put(self, path: str, body: Any) -> httpx2.Response:
        """PUTs `body` as JSON."""
        return self._http.put(path, json=body)

    def stop(self) -> int:
        """Asks the process to end; its exit code."""
        self._http.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_GUARD_S)


@contextmanager
def running_simulator(**settings: str) -> Iterator[RunningSimulator]:
    """Starts a simulator on any free port, without waiting times unless `settings` say otherwise; ends it after."""
    environment = {"PATH": os.environ["PATH"], "ASAHI_SIMULATOR_SPEED": "0", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "asahi_simulator"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        serving = json.loads(process.stdout.readline())
        assert serving["event"] == "serving"
        simulator = RunningSimulator(process, serving["address"])
        yield simulator
        if process.poll() is None:
            simulator.stop()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
