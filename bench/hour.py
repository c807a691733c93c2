"""`python -m bench.hour`: an hour at half of what can be answered; memory, descriptors, threads, latency over time.

Half of the questions are new, half were asked before; a budget blocks, so each new one waits for a hold. How many can
be answered is measured first, sixteen at a time. A line of figures is written every window, and everything is drawn at
the end. It fails where memory, descriptors or threads of the last quarter are more than they were in the second by more
than is let pass: in the first, caches and pools fill.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

import msgspec
import psutil

from bench.chart import Panel, chart
from bench.load import Taken
from bench.machine import conditions, load_average
from bench.report import quantile
from bench.suite import SCENARIOS, Extent, Rig, bench_installation
from tests.installation import Installation

_SERVICES = ("edge", "auth", "cache", "router", "billing")
_AT_ONCE = 16
_WINDOW_S = 10.0
_MISS = next(one for one in SCENARIOS if one.name == "miss, a budget blocks")
_HIT = next(one for one in SCENARIOS if one.name == "hit at the edge")
_ALLOWED = {"memory": 1.05, "descriptors": 1.1, "threads": 1.1}
"""How many times the second quarter's mean the last one's may be."""


class Moment(msgspec.Struct, frozen=True):
    """What was seen in one window."""

    minute: float
    per_second: float
    memory: dict[str, float]
    """MiB by service."""
    descriptors: dict[str, float]
    threads: dict[str, float]
    latency_ms: dict[str, float]


def capacity(rig: Rig) -> float:
    """Questions a second that can be answered, new and old ones by turns."""
    rates = [rig.load(scenario, _AT_ONCE) for scenario in (_MISS, _HIT)]
    return 2 / sum(taken.seconds / taken.requests for taken in rates)


def watch(rig: Rig, installation: Installation, per_second: float, minutes: float) -> Iterator[Moment]:
    """A moment for each window."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as loads:
        while time.monotonic() < began + 60 * minutes:
            asked = [loads.submit(rig.paced, scenario, _AT_ONCE, per_second / 2) for scenario in (_MISS, _HIT)]
            miss, hit = (one.result() for one in asked)
            yield Moment(
                minute=(time.monotonic() - began) / 60,
                per_second=sum(taken.requests / taken.seconds for taken in (miss, hit)),
                latency_ms=_latencies("new", miss) | _latencies("old", hit),
                **_state(installation),
            )


def _latencies(kind: str, taken: Taken) -> dict[str, float]:
    return {f"{kind}, p{share * 100:.0f}": quantile(taken.latency_us, share) / 1000 for share in (0.5, 0.99)}


def _state(installation: Installation) -> dict[str, dict[str, float]]:
    processes = {name: psutil.Process(installation[name].pid) for name in _SERVICES}
    return {
        "memory": {name: one.memory_info().rss / 2**20 for name, one in processes.items()},
        "descriptors": {name: float(one.num_fds()) for name, one in processes.items()},
        "threads": {name: float(one.num_threads()) for name, one in processes.items()},
    }


def grown(moments: Sequence[Moment]) -> dict[str, float]:
    """How many times what it was in the second quarter each figure is in the last, over all services."""
    quarter = max(1, len(moments) // 4)
    earlier, later = moments[quarter : 2 * quarter] or moments[:1], moments[-quarter:]
    return {
        name: mean(sum(getattr(one, name).values()) for one in later)
        / mean(sum(getattr(one, name).values()) for one in earlier)
        for name in _ALLOWED
    }


def drawn(moments: Sequence[Moment]) -> str:
    """All figures over time, as SVG."""

    def lines(name: str) -> dict[str, list[float]]:
        return {of: [getattr(one, name)[of] for one in moments] for of in getattr(moments[0], name)}

    return chart(
        [one.minute for one in moments],
        [
            Panel("memory, MiB", lines("memory")),
            Panel("descriptors", lines("descriptors")),
            Panel("threads", lines("threads")),
            Panel("latency, ms", lines("latency_ms")),
            Panel("questions a second", {"answered": [one.per_second for one in moments]}),
        ],
    )


def main() -> None:
    """Measure, draw and judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.hour", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; default 60")
    parser.add_argument("--share", type=float, default=0.5, help="of what can be answered; default 0.5")
    parser.add_argument("--lines", type=Path, default=Path("hour.jsonl"), help="a line for each window; hour.jsonl")
    parser.add_argument("--svg", type=Path, default=Path("hour.svg"), help="the drawing; default hour.svg")
    options = parser.parse_args()
    print(conditions("python -m bench.hour", load_average()), end="\n\n", flush=True)
    extent = Extent(seconds=_WINDOW_S, warm_seconds=1.0)
    moments: list[Moment] = []
    with tempfile.TemporaryDirectory(prefix="asahi-hour-") as folder, bench_installation(Path(folder)) as installation:
        rig = Rig(installation, extent)
        most = capacity(rig)
        asked = most * options.share
        print(f"{most:.0f} questions/s can be answered; {asked:.0f} are asked for {options.minutes:g} minutes.")
        with options.lines.open("wb") as lines:
            for moment in watch(rig, installation, asked, options.minutes):
                moments.append(moment)
                lines.write(msgspec.json.encode(moment) + b"\n")
                lines.flush()
    options.svg.write_text(drawn(moments))
    times = grown(moments)
    memory = sum(moments[-1].memory.values())
    print(f"Memory of the five services at the end: {memory:.0f} MiB. The last quarter over the second: {told(times)}.")
    if over := {name: one for name, one in times.items() if one > _ALLOWED[name]}:
        sys.exit(f"It is not flat: {told(over)}; let pass are {told(_ALLOWED)}.")


def told(times: dict[str, float]) -> str:
    """Figures by name, in words."""
    return ", ".join(f"{name} {one:.3f} times" for name, one in times.items())


if __name__ == "__main__":
    main()
