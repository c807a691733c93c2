"""Fails when the code can raise an error that no test of the HTTP contract causes: `python -m tests.error_coverage`.

Every class of `asahi_core.errors` needs a row in `tests/surface/rows.py`, plain and streamed, on all inference paths;
no package may have errors of its own, which no row could know.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from asahi_core import errors
from asahi_core.errors import ERRORS_BY_CODE
from tests.documents import ROOT
from tests.surface.rows import PATHS, ROWS, UNSEEN, Row

_BOTH = (False, True)
_STREAMS = {"not_found": (), "method_not_allowed": (False,), "request_too_large": (False,)}
"""How errors can be caused that are found before `stream` is read; `not_found`: on no path, for all are there."""


def faults() -> list[str]:
    """What is not covered, a line each; empty: all is."""
    caused = {row.code for row in ROWS}
    known = caused | UNSEEN.keys()
    found = [f"{code}: no row causes it" for code in sorted(ERRORS_BY_CODE.keys() - known)]
    found += [f"{code}: a row of it, but no such error" for code in sorted(caused - ERRORS_BY_CODE.keys())]
    for code in sorted(caused & ERRORS_BY_CODE.keys()):
        rows = [row for row in ROWS if row.code == code]
        found += _faults_of(code, rows)
    found += [f"{place}: an error outside of asahi_core.errors; declare it there" for place in sorted(_strays())]
    return found


def _faults_of(code: str, rows: list[Row]) -> Iterator[str]:
    kind = ERRORS_BY_CODE[code]
    for row in rows:
        if (row.status, row.type) != (kind.http_status, kind.openai_type):
            yield f"{code}: the row says {row.status} {row.type}, the code {kind.http_status} {kind.openai_type}"
    asked = {(path, stream) for row in rows for path in row.paths for stream in row.streams}
    ways = (True,) if any(row.begun for row in rows) else _STREAMS.get(code, _BOTH)
    wanted = {(path, stream) for path in PATHS for stream in ways}
    yield from (f"{code}: no row on {p}, {'streamed' if s else 'plain'}" for p, s in sorted(wanted - asked))


def _strays() -> Iterator[str]:
    """Classes derived from our errors elsewhere, as `file: class`."""
    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    home = Path(errors.__file__).resolve()
    for source in sorted([*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("libs/asahi-core/src/**/*.py")]):
        if source.resolve() == home:
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[-1] in ours for base in node.bases):
                yield f"{source.relative_to(ROOT)}: {node.name}"


def main() -> int:
    """Prints what is not covered; 1 if anything is not."""
    found = faults()
    if found:
        sys.stderr.write("\n".join(["Errors that no test of the HTTP contract covers:", *found]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
