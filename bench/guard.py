"""`make guard`: fails when a request costs a quarter more CPU time than it did, over all processes.

What is compared is no time but a ratio: the CPU time of a request over that of a fixed loop in the same run, measured
right before and right after it, so that a slower machine, or a busy one, slows both. The least ratio of several rounds
counts, for others' work only ever adds to it: rounds go on until every kind of request is within its bound, and it
fails when the last one is over. `--record` writes the ratios of today as what is compared with; `--dearer 25` is the
counter-proof: it burns as many percent more in each request, and must fail.
"""

import argparse
import json
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.burdened import HEADER
from bench.machine import conditions, load_average
from bench.report import cpu_per_request_us
from bench.suite import SCENARIOS, Extent, Rig, Scenario, bench_installation

KEPT = Path(__file__).with_name("guard.json")
ALLOWED = 1.18
"""How many times what was recorded is let pass: more than rounds differ by, and less than a quarter more."""
_GUARDED = ("hit at the edge", "miss", "miss, a budget blocks")
_ROUNDS, _RECORDED_ROUNDS = 8, 6
_AT_ONCE = 16
_EXTENT = Extent(seconds=2.0, warm_seconds=0.8)
_LOOP_S = 0.3
_QUESTION = {"model": "m", "messages": [{"role": "user", "content": "Say it again, please. " * 20}], "n": 1}


def loop_us(seconds: float = _LOOP_S) -> float:
    """CPU microseconds of a turn of the fixed loop: what services do most, parsing, copying and the kernel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        turns, began = 0, time.process_time()
        while (took := time.process_time() - began) < seconds:
            for _ in range(20):
                ours.send(json.dumps(_QUESTION).encode())
                read = json.loads(theirs.recv(65_536))
                words = {word: len(word) for word in read["messages"][0]["content"].split()}
                sorted(words.items(), key=lambda item: item[1])
            turns += 20
        return took * 1e6 / turns


def dearer(ratios: Mapping[str, float], kept: Mapping[str, float]) -> dict[str, float]:
    """The kinds of requests that cost more than is let pass, and how many times what they did."""
    times = {name: ratio / kept[name] for name, ratio in ratios.items()}
    return {name: one for name, one in times.items() if one > ALLOWED}


def rounds(rig: Rig, kept: Mapping[str, float], burden: float) -> Iterator[dict[str, float]]:
    """Ratios by kind of request, round by round; `burden`: the share of what was recorded that is burnt besides."""
    scenarios = {scenario.name: scenario for scenario in SCENARIOS if scenario.name in _GUARDED}
    while True:
        found = {}
        for name, scenario in scenarios.items():
            before = loop_us()
            found[name] = _cost_us(rig, scenario, burden * kept.get(name, 0.0) * before) / median((before, loop_us()))
        yield found


def _cost_us(rig: Rig, scenario: Scenario, burn_us: float) -> float:
    taken = rig.load(scenario, _AT_ONCE, {HEADER: str(round(burn_us))} if burn_us else {})
    return cpu_per_request_us(taken)


def guard(most_rounds: int, kept: Mapping[str, float], burden: float) -> list[dict[str, float]]:
    """Rounds, until the least ratios of them are within bounds, or so many are over."""
    done: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="asahi-guard-") as folder:
        modules = {"edge": "bench.burdened"} if burden else {}
        with bench_installation(Path(folder), modules) as installation:
            for one in rounds(Rig(installation, _EXTENT), kept, burden):
                done.append(one)
                _say(f"round {len(done)}: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in one.items()))
                if len(done) == most_rounds or (kept and not dearer(least(done), kept)):
                    return done
    return done


def least(done: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The least ratio of each kind."""
    return {name: min(one[name] for one in done) for name in done[0]}


def main() -> None:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write today's ratios as what is compared with")
    parser.add_argument("--dearer", type=float, default=0.0, metavar="PERCENT", help="burn so much more: it must fail")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"most rounds; default {_ROUNDS}")
    options = parser.parse_args()
    load_before = load_average()
    if options.record:
        found = least(guard(_RECORDED_ROUNDS, {}, 0.0))
        told = {"taken": conditions("python -m bench.guard --record", load_before), "ratios": found}
        KEPT.write_text(json.dumps(told, indent=2) + "\n")
        return
    kept = json.loads(KEPT.read_text())["ratios"]
    found = least(guard(options.rounds, kept, options.dearer / 100))
    for name, ratio in found.items():
        _say(f"{name}: {ratio:.2f} turns of the loop, {ratio / kept[name]:.2f} times what was recorded")
    if over := dearer(found, kept):
        named = ", ".join(f"{name} ({times:.2f} times)" for name, times in over.items())
        sys.exit(
            f"Requests take more CPU time than {ALLOWED} times what was recorded: {named}. `python -m bench` shows "
            "where; where it is meant, `python -m bench.guard --record` writes what is compared with."
        )


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
