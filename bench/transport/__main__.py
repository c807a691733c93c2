"""Runs the rounds, each with fresh processes, and prints the medians with their ranges as markdown tables."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from grpc_tools import protoc

from bench.machine import conditions, load_average

HERE = Path(__file__).parent
_SIDE_WITHIN_S = 120
_COLUMNS = ("client_us", "server_us", "p50_us", "p99_us", "per_second")
Rounds = Mapping[tuple[str, str], list[dict[str, Any]]]


@contextmanager
def server(*arguments: str, env: dict[str, str]) -> Iterator[list[str]]:
    """Run a server process; yields the words it greets with."""
    with subprocess.Popen([sys.executable, "-m", *arguments], env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()
        finally:
            process.kill()


def samples(*arguments: str, env: dict[str, str]) -> list[dict[str, Any]]:
    """Run a calling process to its end."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=env, stdout=subprocess.PIPE, check=True, timeout=_SIDE_WITHIN_S
    )
    parsed: list[dict[str, Any]] = json.loads(done.stdout)
    return parsed


def measure(rounds: int, loops: list[str]) -> Rounds:
    """All samples by event loop and case, in the order of the cases' first run."""
    taken: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as directory:
        _generate(directory)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([directory, str(HERE.parents[1])])}
        for number in range(rounds):
            for loop in loops if number % 2 else reversed(loops):
                with server("bench.transport.services", directory, loop, env=env) as ports:
                    found = samples("bench.transport.load_services", loop, directory, *ports, env=env)
                with server("bench.transport.provider", env=env) as ports:
                    found += samples("bench.transport.load_provider", loop, *ports, env=env)
                for one in found:
                    taken[loop, one["case"]].append(one)
    return taken


def _generate(directory: str) -> None:
    well_known = files("grpc_tools") / "_proto"
    outputs = [f"--{kind}_out={directory}" for kind in ("python", "grpc_python")]
    failed = protoc.main(["protoc", f"-I{HERE}", f"-I{well_known}", *outputs, str(HERE / "transport.proto")])
    assert not failed, "transport.proto does not compile"


def tables(taken: Rounds, loops: list[str], rounds: int) -> Iterator[str]:
    """One markdown table per event loop."""
    for loop in loops:
        yield f"\n### {loop}, median (range) of {rounds} rounds\n"
        yield "| case | client CPU µs | server CPU µs | p50 µs | p99 µs | per second | envelopes per frame |"
        yield "|---|--:|--:|--:|--:|--:|--:|"
        for case in sorted(case for its_loop, case in taken if its_loop == loop):
            found = taken[loop, case]
            columns = [_spread([one[key] for one in found]) for key in _COLUMNS]
            yield f"| {' | '.join([case, *columns, found[-1]['note']])} |"


def _spread(values: list[float]) -> str:
    if not any(values):
        return ""
    digits = 1 if median(values) < 20 else 0
    middle = f"{median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with fresh processes (default 3)")
    parser.add_argument("--loops", default="uvloop,asyncio", help="event loops to compare (default uvloop,asyncio)")
    parser.add_argument("--output", type=Path, help="file to write the tables to as well")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers end with this process
    loops = options.loops.split(",")
    load_before = load_average()
    taken = measure(options.rounds, loops)
    lines = [conditions("python -m bench.transport", load_before), *tables(taken, loops, options.rounds)]
    page = "\n".join(lines) + "\n"
    print(page)
    if options.output:
        options.output.write_text(page)


if __name__ == "__main__":
    main()
