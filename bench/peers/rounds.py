"""What is measured of a gateway, round by round, and what the rounds say together."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import httpx2

from bench.load import Load, Taken
from bench.peers.gateways import MODEL, OTHER_CORE, Gateway, on_core
from bench.report import quantile
from bench.suite import run_load
from tests.simulator import SimulatorControl

_TEXT = "Summarise the following text in one sentence, please. " * 18 + "It is @."
_CHAT = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "{_TEXT}"}}]}}'
_STREAMED = _CHAT.replace('"messages"', '"stream": true, "messages"')
_SHORT = '{"prompt": "What became of number @?"}'
_PATH = "/v1/chat/completions"
_DISTINCT = 64
_BUSY = 16
_SWEEP = (1, 2, 4, 8, 16, 32, 64, 128)
"""Requests at a time, among which the most that a bound of the 99th percentile allows is looked for."""
BOUNDS_MS = (5, 10, 50, 100)
_STREAMS = (16, 32, 64, 128, 192, 256)
_TOKENS_PER_SECOND = 50
_STALL_US = 100_000.0
_HELD = "[held]"
_TRIES = 2
_MIB = "MiB"


@dataclass(frozen=True, slots=True)
class Aim:
    """What Asahi is to reach, and the first step towards it."""

    best: float
    first: float
    more_is_better: bool = False

    def reached(self, value: float) -> str:
        """Which of both, in words."""
        sign = -1 if self.more_is_better else 1
        if sign * value <= sign * self.best:
            return "aim reached"
        return "first step reached" if sign * value <= sign * self.first else "**missed**"

    def __str__(self) -> str:
        return f"{'≥' if self.more_is_better else '≤'} {self.best:g} ({self.first:g})"


AIMS = {
    "hit, CPU": Aim(0.40, 0.60),
    "miss, CPU": Aim(1.2, 2.2),
    "hit, requests/s on one core, 16 at a time": Aim(2400, 1600, more_is_better=True),
    "miss, requests/s on one core, 16 at a time": Aim(800, 450, more_is_better=True),
    "miss, added p50, one at a time": Aim(1.2, 2.0),
    "miss, added p99, one at a time": Aim(3.0, 5.0),
    "stream, added time to the first token, p50": Aim(1.0, 2.0),
    "streams at 50 tokens/s without a silence of 100 ms": Aim(256, 128, more_is_better=True),
    "memory after load": Aim(600, 850),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a gateway, over all rounds."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """Its median."""
        return median(self.values)

    @property
    def spread(self) -> str:
        """Its least and its most."""
        return f"{min(self.values):.3g}–{max(self.values):.3g}"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long each window is, in seconds."""

    seconds: float = 8.0
    warm_seconds: float = 2.0

    @property
    def short(self) -> "Extent":
        """For windows of which there are many."""
        return Extent(max(1.0, self.seconds / 3), max(0.5, self.warm_seconds / 3))


class Rounds:
    """Collects the figures of one gateway."""

    def __init__(self, gateway: Gateway, extent: Extent, provider_port: int, salts: Iterator[int]) -> None:
        self._gateway = gateway
        self._extent = extent
        self._provider_port = provider_port
        self._salts = salts

    def measure(self) -> Iterator[tuple[str, str, float]]:
        """One round: name, unit and value of each figure."""
        yield "memory at rest", _MIB, self._gateway.memory_mib()
        alone, direct = self._ask(1), self._direct()
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            added = quantile(alone.latency_us, share) - quantile(direct.latency_us, share)
            yield f"miss, added {name}, one at a time", "ms", added / 1000
        busy = self._ask(_BUSY)
        yield "miss, CPU", "ms", cpu_ms(busy)
        yield "miss, requests/s on one core, 16 at a time", "", busy.requests / busy.seconds
        for bound_ms, most in self._most_within_bounds().items():
            yield f"miss, requests/s while p99 ≤ {bound_ms} ms", "", most
        if self._gateway.caches:
            hits = self._ask(_BUSY, distinct=_DISTINCT)
            yield "hit, CPU", "ms", cpu_ms(hits)
            yield "hit, requests/s on one core, 16 at a time", "", hits.requests / hits.seconds
        if self._streams():
            asked = (self._ask(1, body=_STREAMED), self._direct(body=_STREAMED))
            first, direct_first = (quantile(one.first_us, 0.5) for one in asked)
            yield "stream, added time to the first token, p50", "ms", (first - direct_first) / 1000
            yield "streams at 50 tokens/s without a silence of 100 ms", "", self._most_streams()
        if self._gateway.chooses:
            yield from self._chosen(direct)
        yield "memory after load", _MIB, self._gateway.memory_mib()

    def _streams(self) -> bool:
        """Whether it answers a streamed question here: Portkey 1.15 does not on newer versions of Node."""
        gateway = self._gateway
        answer = httpx2.post(
            f"http://127.0.0.1:{gateway.port}{_PATH}",
            content=_STREAMED,
            headers={
                "content-type": "application/json",
                "authorization": gateway.authorization,
                **gateway.headers,
            },
            timeout=60.0,
        )
        if answer.status_code != 200:
            print(f"{gateway.name} answers streams with {answer.status_code}: {answer.text[:200]}", file=sys.stderr)
        return answer.status_code == 200

    def _chosen(self, direct: Taken) -> Iterator[tuple[str, str, float]]:
        """A model is chosen, and similar questions are looked for: a miss and one embedding."""
        asked: dict[str, object] = {"path": "/infer", "body": _SHORT, "authorization": self._gateway.chooses}
        alone, busy = self._ask(1, None, **asked), self._ask(_BUSY, None, **asked)
        name = "autopilot with tier 2, miss"
        added = quantile(alone.latency_us, 0.5) - quantile(direct.latency_us, 0.5)
        yield f"{name}, added p50, one at a time", "ms", added / 1000
        yield f"{name}, CPU", "ms", cpu_ms(busy)
        yield f"{name}, requests/s on one core, 16 at a time", "", busy.requests / busy.seconds

    def _most_within_bounds(self) -> dict[int, float]:
        """By bound in ms, the most misses a second among windows of more and more at a time; 0: in none."""
        most = dict.fromkeys(BOUNDS_MS, 0.0)
        for concurrency in _SWEEP:
            taken = self._answered(concurrency, self._extent.short)
            if taken is None:
                break
            p99_ms = quantile(taken.latency_us, 0.99) / 1000
            for bound_ms in BOUNDS_MS:
                if p99_ms <= bound_ms:
                    most[bound_ms] = max(most[bound_ms], taken.requests / taken.seconds)
            if p99_ms > 2 * BOUNDS_MS[-1]:
                break
        return most

    def _most_streams(self) -> int:
        """How many at once are held at a reader's pace without any falling silent."""
        extent, most = self._extent.short, 0
        seconds = max(2.0, extent.seconds)
        tokens = int((seconds + extent.warm_seconds + 1.0) * _TOKENS_PER_SECOND)
        pace = {"tokens_per_second": _TOKENS_PER_SECOND, "answer_tokens": tokens}
        control = SimulatorControl(f"http://127.0.0.1:{self._provider_port}")
        control.rules({"mode": "slow", "match": {"contains": _HELD}, "params": pace})
        body = _STREAMED.replace("@", f"{_HELD} @")
        try:
            for streams in _STREAMS:
                tries = (self._answered(streams, Extent(seconds, 1.0), body=body, held=True) for _ in range(_TRIES))
                if not any(taken is not None and max(taken.gaps_us) <= _STALL_US for taken in tries):
                    break
                most = streams
        finally:
            control.rules()
        return most

    def _answered(self, concurrency: int, extent: Extent, **more: object) -> Taken | None:
        """A window of more than a gateway may be able to answer; None: it was not, as the load generator has told."""
        try:
            return self._ask(concurrency, extent, **more)
        except subprocess.CalledProcessError:
            return None

    def _direct(self, **more: object) -> Taken:
        return ask(self._provider_port, 1, self._extent, salt=f"d{next(self._salts)}", **more)

    def _ask(self, concurrency: int, extent: Extent | None = None, **more: object) -> Taken:
        gateway = self._gateway
        own = {
            "authorization": gateway.authorization,
            "headers": dict(gateway.headers),
            "processes": gateway.processes(),
        }
        return ask(gateway.port, concurrency, extent or self._extent, salt=f"r{next(self._salts)}", **(own | more))


def ask(port: int, concurrency: int, extent: Extent, *, salt: str, **more: object) -> Taken:
    """One window of questions, asked from the other core."""
    with on_core(OTHER_CORE):
        return run_load(
            Load(
                **{
                    "port": port,
                    "path": _PATH,
                    "body": _CHAT,
                    "authorization": "Bearer sk-none",
                    "concurrency": concurrency,
                    "seconds": extent.seconds,
                    "warm_seconds": extent.warm_seconds,
                    "salt": salt,
                    **more,
                }  # type: ignore[arg-type]
            )
        )


def cpu_ms(taken: Taken) -> float:
    """CPU time of a request, over the whole tree of processes."""
    return sum(taken.cpu_us.values()) / max(1, taken.requests) / 1000


def told(figures: Sequence[tuple[str, dict[str, Figure]]]) -> Iterator[str]:
    """Rows of a table: each figure of each gateway with its spread, and how many times it is the first gateway's.

    The aims, and whether they are reached, are Asahi's.
    """
    names = list(dict.fromkeys(name for _, found in figures for name in found))
    yield "| | " + " | ".join(gateway for gateway, _ in figures) + " | aim (first step) | |"
    yield "| --- |" + " --: |" * len(figures) + " --: | --- |"
    ours = figures[0][1]
    for name in names:
        unit = next(found[name].unit for _, found in figures if name in found)
        cells = []
        for gateway, found in figures:
            if name not in found:
                cells.append("–")
                continue
            one = found[name]
            compared = gateway != figures[0][0] and name in ours and ours[name].middle
            times = f", × {one.middle / ours[name].middle:.2g}" if compared else ""
            cells.append(f"{one.middle:.3g} ({one.spread}{times})")
        aim = AIMS.get(name)
        if aim is not None and figures[0][0] == "Asahi" and name in ours:
            cells += [str(aim), aim.reached(ours[name].middle)]
        else:
            cells += ["", ""]
        yield f"| {name}{f', {unit}' if unit else ''} | " + " | ".join(cells) + " |"
