"""What a test says to the simulator, and what the simulator counted."""

from typing import Any

import httpx2


class SimulatorControl:
    """The simulator's control path."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rules(self, *rules: dict[str, Any]) -> None:
        """Puts failure rules in the place of all before."""
        httpx2.put(f"{self.url}/control", json=list(rules), timeout=10.0, verify=False).raise_for_status()

    def reset(self) -> None:
        """Forgets rules and calls."""
        httpx2.delete(f"{self.url}/control", timeout=10.0, verify=False).raise_for_status()

    def calls(self, request_id: str | None = None) -> list[dict[str, Any]]:
        """Every call that was made, or those of one request; oldest first."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            params: dict[str, Any] = {"after": after, "limit": 1000}
            if request_id is not None:
                params["request_id"] = request_id
            answer = httpx2.get(f"{self.url}/control/calls", params=params, timeout=30.0, verify=False).json()
            if not answer["calls"]:
                return found
            found += answer["calls"]
            after = answer["calls"][-1]["number"]
