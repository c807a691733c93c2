"""`python -m bench`: measures an installation of real processes and prints the figures; takes two minutes."""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from bench.breakdown import breakdowns
from bench.machine import conditions, load_average
from bench.report import Report, as_json, markdown, write_between_markers
from bench.suite import QUICK, SCENARIOS, Extent, measure

_TAKEN_APART = {"hit at the edge": ("edge",), "miss": ("edge", "router", "cache"), "miss, streamed": ("edge", "router")}


def run(extent: Extent) -> Report:
    """Measures, with all data in a temporary folder."""
    load_before = load_average()
    with tempfile.TemporaryDirectory(prefix="asahi-bench-") as folder:
        results = measure(Path(folder) / "figures", extent)
        scenarios = {scenario.name: scenario for scenario in SCENARIOS}
        wanted = [(process, scenarios[name]) for name, processes in _TAKEN_APART.items() for process in processes]
        found = breakdowns(Path(folder) / "breakdown", extent, wanted) if extent.profile_seconds else []
    return Report(conditions("python -m bench", load_before), results, found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures for programs")
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean little")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the figures between the markers of a page, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends with this process
    report = run(QUICK if options.quick else Extent())
    text = markdown(report)
    print(json.dumps(as_json(report), indent=2) if options.json else text)
    if options.write:
        write_between_markers(options.write, text)


if __name__ == "__main__":
    main()
