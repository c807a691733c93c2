"""Results of cases: as they are printed, and as docs/operations/containers.md has them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.documents import ROOT
from tests.k8s.cluster.podman import inspect

PAGE = ROOT / "docs" / "operations" / "containers.md"
HEAD = (
    "| case | images of | load | took | requests | streams | failed | allowed to fail | provider calls | faults |\n"
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |"
)
_LONGEST = 110
_TABLE = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.DOTALL)
_ROW = re.compile(r"^\| ([a-z0-9, -]+) \| [0-9a-f]{7,} \|.*", re.MULTILINE)
_NOTE = re.compile(r"^- \*\*([a-z0-9, -]+)\*\*: .*(?:\n  .*)*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a case came to."""

    case: str
    commit: str
    """That the images were built from."""
    load: float
    """The machine's load average of the last minute."""
    took_s: float
    requests: int
    streams: int
    failed: int
    excused: int
    calls: int
    """Of the provider."""
    faults: Sequence[str]
    notes: Sequence[str]

    def row(self) -> str:
        """Of the table."""
        cells = (
            self.case, self.commit, f"{self.load:.0f}", f"{self.took_s:.0f} s", self.requests, self.streams,
            self.failed, self.excused, self.calls, len(self.faults),
        )  # fmt: skip
        return f"| {' | '.join(str(cell) for cell in cells)} |"

    def note(self) -> str:
        """What else is to be told; empty: nothing."""
        counted = Counter(" ".join(one.split())[:_LONGEST] for one in (*self.notes, *self.faults))
        told = "; ".join(f"{one} ({count} times)" if count > 1 else one for one, count in counted.items())
        return f"- **{self.case}**: {told}" if told else ""


async def commit_of(image: str) -> str:
    """What an image says that it was built from, abbreviated."""
    labels = (await inspect(image))["Config"].get("Labels") or {}
    return str(labels.get("org.opencontainers.image.revision", "unknown"))[:7]


def record(result: Result, order: Sequence[str]) -> None:
    """Puts a result in the place of the one before on the page; `order` of cases."""
    PAGE.write_text(with_result(PAGE.read_text(encoding="utf-8"), result, order), encoding="utf-8")


def with_result(page: str, result: Result, order: Sequence[str]) -> str:
    """The page with a result."""
    found = _TABLE.search(page)
    assert found is not None, f"{PAGE} has no place for results"
    rows = {match[1]: match[0] for match in _ROW.finditer(found[0])} | {result.case: result.row()}
    notes = {match[1]: match[0] for match in _NOTE.finditer(found[0])} | {result.case: result.note()}
    places = {name: place for place, name in enumerate(order)}
    names = sorted(rows, key=lambda name: places.get(name, len(places)))
    table = "\n".join([HEAD, *(rows[name] for name in names)])
    told = "\n".join(notes[name] for name in names if notes.get(name))
    return page.replace(found[0], f"{found[1]}{table}\n\n{told}\n{found[2]}")
