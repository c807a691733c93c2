"""The commands of a page of docs/operations: its indented blocks, one after the other."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.documents import ROOT

OPERATIONS = ROOT / "docs" / "operations"
_INDENTED = re.compile(r"^( {4,})\S")


@dataclass(frozen=True, slots=True)
class Commands:
    """A block of commands, and where it stands."""

    page: Path
    section: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """For people."""
        return f"{self.page.relative_to(OPERATIONS)}:{self.line}"


def commands_of(page: Path) -> list[Commands]:
    """The page's blocks; a blank line within one does not end it where the next line is indented, too."""
    found, block, start, section = list[Commands](), list[str](), 0, ""
    lines = [*page.read_text(encoding="utf-8").splitlines(), "end"]
    for number, line in enumerate(lines, 1):
        if _INDENTED.match(line) and (block or not lines[max(number - 2, 0)].strip()):
            start = start or number
            block.append(line)
        elif line.strip():
            if block:
                found.append(Commands(page, section, start, _unindented(block)))
            block, start = [], 0
            if line.startswith("## "):
                section = line.removeprefix("## ")
        elif block:
            block.append("")
    return found


def values_alone() -> dict[str, str]:
    """The lines of values in alone.md, by service."""
    page = (OPERATIONS / "alone.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+)\.yaml:\n\n```yaml\n(.*?)```", page, re.MULTILINE | re.DOTALL))


def _unindented(block: list[str]) -> str:
    indent = min(len(line) - len(line.lstrip()) for line in block if line.strip())
    return "\n".join(line[indent:] for line in block).strip()
