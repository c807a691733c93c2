"""Somebody who asks one question after another, from a process of their own: what they hear, and how soon.

An event loop that makes load, or attacks, tells the time of its own delays with every answer; this process does nothing
else. `python -m tests.witness` is its other end: a line of JSON says whom to ask what, each further line for how long.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from tests.installation import Organization

NUMBER = "########"
"""Stands in the body for a number that no other question has."""
_TIMEOUT_S = 60.0


class Heard(NamedTuple):
    """What came of one question."""

    status: int
    """0: no answer."""
    ms: float
    retry_after: bool
    """Whether it was told when to ask again."""


@dataclass(frozen=True, slots=True)
class _Questions:
    port: int
    key: str
    body: str
    connections: int
    pause_s: float

    def ask_for(self, seconds: float, first: int) -> list[Heard]:
        """Asks over each connection; the answers in the order in which they came."""
        heard: list[Heard] = []
        threads = [
            threading.Thread(target=self._ask_one_after_another, args=(seconds, first + 100_000 * place, heard))
            for place in range(self.connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return heard

    def _ask_one_after_another(self, seconds: float, number: int, heard: list[Heard]) -> None:
        http = HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            heard.append(self._ask(http, number))
            number += 1
            time.sleep(self.pause_s)
        http.close()

    def _ask(self, http: HTTPConnection, number: int) -> Heard:
        body = self.body.replace(NUMBER, f"{number:0{len(NUMBER)}}")
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        began, status, told = time.perf_counter(), 0, False
        try:
            http.request("POST", "/infer", body, headers)
            answer = http.getresponse()
            answer.read()
            status, told = answer.status, answer.getheader("retry-after") is not None
        except (OSError, HTTPException):
            http.close()
        return Heard(status, (time.perf_counter() - began) * 1000, told)


class Witness:
    """The process, from where the load is made."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    async def listen(self, seconds: float) -> list[Heard]:
        """What it hears for so long."""
        return await asyncio.to_thread(self._listen, seconds)

    def _listen(self, seconds: float) -> list[Heard]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the witness has ended"
        return [Heard(*one) for one in json.loads(line)]


@contextmanager
def witness(organization: Organization, body: str, *, connections: int = 1, pause_s: float = 0.01) -> Iterator[Witness]:
    """A witness who asks as the organisation, with this body."""
    port = organization.installation["edge"].http_port
    questions = _Questions(port, organization.key, body, connections, pause_s)
    command = [sys.executable, "-m", "tests.witness"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(questions)) + "\n")
        try:
            yield Witness(process)
        finally:
            process.stdin.close()
            process.wait(timeout=2 * _TIMEOUT_S)


def percentile(heard: list[Heard], share: float) -> float:
    """Milliseconds within which this share of them came; none: for ever."""
    found = sorted(one.ms for one in heard)
    return found[min(len(found) - 1, int(len(found) * share))] if found else float("inf")


def main() -> None:
    """The other end."""
    questions = _Questions(**json.loads(sys.stdin.readline()))
    asked = 0
    for line in sys.stdin:
        heard = questions.ask_for(float(line), asked)
        asked += 1_000_000
        print(json.dumps(heard), flush=True)


if __name__ == "__main__":
    main()
