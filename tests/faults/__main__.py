"""`python -m tests.faults --seeds 1-200`: breaks everything at random, seed by seed, and compares the books.

Results are added to a file, a line of JSON a seed; seeds that it has of the same commit are not run again.
`--without "idempotency"` leaves a safeguard out, and then succeeds only if that is seen. `--report` writes the figures
of the file into docs/reliability.md.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.faults.report import write_report
from tests.faults.run import Result, run_seed
from tests.faults.schedule import schedule_of
from tests.faults.started import SAFEGUARDS
from tests.postgresql import postgresql

RESULTS = Path(".asahi/faults.jsonl")
_TOLD = 12
"""Most faults of a seed that are printed; the results have all."""
_CHANGED = "+"
"""After a commit: files differ from it, so that it says nothing about another run."""


def main() -> int:
    """Runs the rig; exit code 1 if anything is wrong, or if a safeguard that was left out was not missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=range(1, 11), help="first-last, or one")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of results")
    parser.add_argument("--without", choices=SAFEGUARDS, default="", help="a safeguard that is left out")
    parser.add_argument("--report", action="store_true", help="only write the figures into docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="a folder for data and logs of seeds that fail")
    options = parser.parse_args()
    if options.report:
        write_report(_results(options.results))
        return 0
    commit = _commit()
    known = [] if options.without or commit.endswith(_CHANGED) else _results(options.results)
    done = {result.seed for result in known if result.commit == commit}
    found: list[Result] = []
    with postgresql() as server:
        for seed in options.seeds:
            if seed in done:
                continue
            with tempfile.TemporaryDirectory(prefix="asahi-faults-") as folder:
                data = Path(folder) / "data"
                result = asyncio.run(run_seed(seed, data, server, commit=commit, without=options.without))
                if result.wrong and options.keep:
                    data.rename(options.keep / f"seed-{seed}")
            found.append(result)
            _tell(result)
            if not options.without:
                options.results.parent.mkdir(parents=True, exist_ok=True)
                with options.results.open("ab") as file:
                    file.write(msgspec.json.encode(result) + b"\n")
            elif _is_missed(result):
                break
    if options.without:
        seen = any(map(_is_missed, found))
        print(f"without {options.without}: {'seen' if seen else 'NOT SEEN'} in {len(found)} seeds")
        return not seen
    wrong = sum(bool(result.wrong) for result in found)
    print(f"{len(found)} seeds run, {len(done)} were done; {wrong} with faults")
    return bool(wrong)


def _is_missed(result: Result) -> bool:
    """Whether the safeguard that was left out is what is seen to be missing."""
    words = SAFEGUARDS[result.without][2]
    return any(words in one for one in result.wrong) and not any("internal_error" in one for one in result.wrong)


def _tell(result: Result) -> None:
    print(
        f"seed {result.seed}: {len(result.faults)} faults, {result.calls} calls, {result.records} records, "
        f"{result.orphans} orphans, well again after {result.recovered_s:.1f} s; {result.seconds:.0f} s in all, "
        f"load average {result.load:.1f}; {result.seen}",
        flush=True,
    )
    if result.wrong:
        for fault in result.faults:
            print(f"  {fault}")
        for one in result.wrong[:_TOLD]:
            print(f"  WRONG: {one}")
        if len(result.wrong) > _TOLD:
            print(f"  and {len(result.wrong) - _TOLD} more")
        without = f" --without '{result.without}'" if result.without else ""
        print(f"  replay: python -m tests.faults --seeds {result.seed}{without}", flush=True)


def _results(file: Path) -> list[Result]:
    if not file.exists():
        return []
    return [msgspec.json.decode(line, type=Result) for line in file.read_bytes().splitlines()]


def _commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    return head.stdout.strip() + (_CHANGED if changed.stdout else "")


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    for seed in seeds[:1]:
        schedule_of(seed)
    return seeds


if __name__ == "__main__":
    sys.exit(main())
