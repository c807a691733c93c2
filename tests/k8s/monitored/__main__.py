"""`python -m tests.k8s.monitored [CASE…]`: every alert fires at its fault, made real, and ends after it.

The production profile as processes with the variables that the charts render, scraped by a real Prometheus with the
charts' rules, whose time runs 60 times faster (`prometheus.py` says what that means). While the fault lasts, the
runbook's commands have to show something of it. Exit code 1: an alert did not fire, did not end, no fault is made for
it, a command showed nothing, or a dashboard's query had no data.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.k8s.monitored.callers import Traffic
from tests.k8s.monitored.cases import CASES, Case
from tests.k8s.monitored.dashboards import look_at_dashboards
from tests.k8s.monitored.installation import Monitored, monitored
from tests.k8s.monitored.prometheus import Alarm
from tests.k8s.monitored.runbooks import beginning, commands, misled
from tests.k8s.objects import of_kind
from tests.k8s.operated.pages import OPERATIONS
from tests.k8s.rendering import Object

PAGE = OPERATIONS / "monitoring.md"
HEAD = "| alert | fault | fires after | ends after | tried |\n| --- | --- | --: | --: | --: |"
_RESULTS = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.DOTALL)
_FIRES_WITHIN_S = 150.0
_ENDS_WITHIN_S = 240.0
_LOOK_AGAIN_S = 0.5


def seconds_until(
    monitored: Monitored, alarms: Iterable[Alarm], *, firing: bool, within_s: float
) -> dict[Alarm, float]:
    """When each alert fired (or did not any more), since this began; those that never did are missing."""
    begun, found = time.monotonic(), dict[Alarm, float]()
    while (left := set(alarms) - found.keys()) and time.monotonic() - begun < within_s:
        now = monitored.prometheus.firing()
        found |= {one: time.monotonic() - begun for one in left if (one in now) == firing}
        time.sleep(_LOOK_AGAIN_S)
    return found


def run(monitored: Monitored, case: Case) -> tuple[list[str], list[str]]:
    """Makes a fault and mends it: a row for each alert, with how many commands were tried, and what is wrong."""
    already = set(case.alarms) & monitored.prometheus.firing()
    begun = beginning(monitored)
    with case.fault(monitored):
        fired = seconds_until(monitored, case.alarms, firing=True, within_s=_FIRES_WITHIN_S)
        in_vain = [one for alarm in case.alarms if alarm in fired for one in misled(monitored, alarm, begun)]
        others = sorted({str(one) for one in monitored.prometheus.firing() - set(case.alarms)})
    ended = seconds_until(monitored, case.alarms, firing=False, within_s=_ENDS_WITHIN_S)
    rows = []
    for alarm in case.alarms:
        times = (f"{one[alarm]:.0f} s" if alarm in one else "NEVER" for one in (fired, ended))
        rows.append(f"| {' | '.join(map(str, (alarm, case.what, *times, len(commands(alarm)))))} |")
    print(*rows, *(["  beside: " + ", ".join(others)] if others else []), sep="\n", flush=True)
    return rows, [
        *(f"{alarm} fired before its fault" for alarm in already),
        *(f"{alarm} did not fire: {case.what}" for alarm in case.alarms if alarm not in fired),
        *in_vain,
        *(f"{alarm} did not end" for alarm in case.alarms if alarm not in ended),
    ]


def not_made(objects: list[Object]) -> set[Alarm]:
    """Alerts of rendered charts for which there is no fault."""
    rules = [rule for one in of_kind(objects, "PrometheusRule") for group in one["spec"]["groups"]
             for rule in group["rules"]]  # fmt: skip
    there = {Alarm(rule["alert"], rule["labels"]["service"]) for rule in rules}
    return there - {alarm for case in CASES.values() for alarm in case.alarms}


def record(load: str, rows: Sequence[str], dashboards: str, wrong: Sequence[str]) -> None:
    """Puts the results of a whole run into docs/operations/monitoring.md."""
    results = "\n".join([f"Two cores, {load}.", "", HEAD, *rows, "", dashboards, *(f"- {one}" for one in wrong)])
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_RESULTS.sub(lambda match: f"{match[1]}{results}\n{match[2]}", page), encoding="utf-8")


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"default: dashboards, and all of {', '.join(CASES)}")
    parser.add_argument("--record", action="store_true", help="put all results into docs/operations/monitoring.md")
    options = parser.parse_args()
    if unknown := set(options.case) - CASES.keys() - {"dashboards"}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.record and options.case:
        parser.error("--record takes the results of all cases")
    load, told, rows, wrong = f"load average {os.getloadavg()[0]:.0f} at the beginning", "", list[str](), list[str]()
    print(load, flush=True)
    with tempfile.TemporaryDirectory() as folder, monitored(Path(folder)) as installation, Traffic(installation):
        if not options.case or "dashboards" in options.case:
            told, empty = look_at_dashboards(installation)
            print(told)
            wrong += empty
        print(HEAD, flush=True)
        for name in [name for name in CASES if name in (options.case or CASES)]:
            found, faults = run(installation, CASES[name])
            rows += found
            wrong += faults
        if not options.case:
            wrong += [f"no fault is made for {alarm}" for alarm in sorted(not_made(installation.objects), key=str)]
    print("\n".join(wrong) or "every alert fired at its fault, and ended")
    if options.record:
        record(load, rows, told, wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
