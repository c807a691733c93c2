"""Runs every page of docs/integrations with its clients; the first run makes their environments from the locks.

`--lock` pins the clients before (`--lock --upgrade`: at their newest); then, if every page is true, the table of
versions in docs/integrations/README.md is written anew, with the day.
"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.installation import running_installation
from tests.integrations.environments import lock
from tests.integrations.pages import PAGES, PageIsWrong, follow
from tests.integrations.versions import write_table
from tests.simulator import SimulatorControl


def run(names: list[str]) -> list[str]:
    """Runs the pages of these names, all if there are none; returns the names of those that are wrong."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder, running_installation(Path(folder) / "data") as installation:
        control = SimulatorControl(installation.url_of("simulator"))
        for page in PAGES:
            if names and page.name not in names:
                continue
            began = time.monotonic()
            try:
                follow(page, installation.signup(page.name), Path(folder) / page.name, control)
            except PageIsWrong as error:
                wrong.append(page.name)
                print(error, file=sys.stderr)
            print(f"{page.name}: {'wrong' if page.name in wrong else 'runs'}, {time.monotonic() - began:.1f} s")
    return wrong


def main() -> int:
    """Returns 1 if a page is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.integrations", description=__doc__)
    parser.add_argument("names", nargs="*", help="pages; none: all")
    parser.add_argument("--lock", action="store_true", help="pin the clients, and write which versions work")
    parser.add_argument("--upgrade", action="store_true", help="with --lock: at their newest")
    arguments = parser.parse_args()
    if arguments.lock:
        lock(["--upgrade"] if arguments.upgrade else [])
    wrong = run(arguments.names)
    if wrong:
        print(f"wrong: {', '.join(wrong)}", file=sys.stderr)
        return 1
    if arguments.lock and not arguments.names:
        write_table(datetime.now(UTC).date())
    return 0


if __name__ == "__main__":
    sys.exit(main())
