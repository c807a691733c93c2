"""The project's pages as a test reads them: code blocks to run, answers they claim, links."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ELLIPSIS = "…"
"""In a claimed answer: anything."""
RUNNABLE = ("bash", "python")
_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<info>.*)")
_LINK = re.compile(r"\[[^\]\[]*\]\((?P<target>[^()\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"#{1,6} +(?P<title>.+?) *")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block. `flags` follow the language: `answer` (of the block before), `not-run`."""

    page: Path
    line: int
    language: str
    flags: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every markdown page of the project."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(
        ROOT / path for path in found if not any(part.startswith((".", "node_modules")) for part in path.parts)
    )


def guides() -> list[Path]:
    """The pages whose commands people type."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    opened: re.Match[str] | None = None
    start, lines = 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence is not None:
                opened, start, lines = fence, number, []
        elif fence is not None and fence["ticks"] == opened["ticks"] and not fence["info"].strip():
            language, *flags = opened["info"].split() or [""]
            yield Block(page, start, language, tuple(flags), "\n".join(lines))
            opened = None
        else:
            lines.append(line.removeprefix(opened["indent"]))
    if opened is not None:
        raise ValueError(f"{page.name}:{start}: the block is never closed")


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link outside of code."""
    for number, line in enumerate(_prose(page), 1):
        for match in _LINK.finditer(_CODE.sub("", line)):
            yield number, match["target"]


def code_spans(page: Path) -> Iterator[tuple[int, str]]:
    """Line and content of every inline code."""
    for number, line in enumerate(_prose(page), 1):
        for match in _CODE.finditer(line):
            yield number, match[0].strip("`")


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may name, made as GitHub makes it."""
    titles = (match["title"] for line in _prose(page) if (match := _HEADING.fullmatch(line)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def mismatches(claimed: Block, actual: str) -> list[str]:
    """In what an answer differs from what the page claims; empty: in nothing."""
    actual = actual.replace("\r\n", "\n")
    if claimed.language == "json":
        try:
            return list(_json_mismatches(json.loads(claimed.text), json.loads(actual), "answer"))
        except json.JSONDecodeError as error:
            return [f"no JSON ({error})"]
    pattern = re.escape(claimed.text.strip()).replace(f"\\\n{ELLIPSIS}", ELLIPSIS).replace(ELLIPSIS, ".*?")
    lines = "\n".join(line.rstrip() for line in actual.strip().splitlines())
    return [] if re.fullmatch(pattern, lines, re.DOTALL) else ["the text is another"]


def _json_mismatches(claimed: Any, actual: Any, at: str) -> Iterator[str]:
    """Texts may hold `…`, and so may objects and lists for what is not shown; of a decimal only the sign is claimed."""
    if isinstance(claimed, dict) and isinstance(actual, dict):
        shown = claimed.keys() - {ELLIPSIS}
        yield from (f"{at}.{name} is missing" for name in sorted(shown - actual.keys()))
        if ELLIPSIS not in claimed:
            yield from (f"{at}.{name} is not shown" for name in sorted(actual.keys() - shown))
        for name in shown & actual.keys():
            yield from _json_mismatches(claimed[name], actual[name], f"{at}.{name}")
    elif isinstance(claimed, list) and isinstance(actual, list):
        shown_items = [item for item in claimed if item != ELLIPSIS]
        if len(actual) < len(shown_items) or (len(actual) > len(shown_items) and ELLIPSIS not in claimed):
            yield f"{at} has {len(actual)} entries, not {len(shown_items)}"
        for index, (one, other) in enumerate(zip(shown_items, actual, strict=False)):
            yield from _json_mismatches(one, other, f"{at}[{index}]")
    elif isinstance(claimed, str) and isinstance(actual, str):
        pattern = ".*".join(re.escape(part) for part in claimed.split(ELLIPSIS))
        if not re.fullmatch(pattern, actual, re.DOTALL):
            yield f"{at} is {actual!r}, not {claimed!r}"
    elif isinstance(claimed, float) and isinstance(actual, int | float) and not isinstance(actual, bool):
        if (claimed > 0, claimed < 0) != (actual > 0, actual < 0):
            yield f"{at} is {actual!r}, not like {claimed!r}"
    elif claimed != actual or isinstance(claimed, bool) != isinstance(actual, bool):
        yield f"{at} is {actual!r}, not {claimed!r}"


def _prose(page: Path) -> Iterator[str]:
    """The lines of a page, those of fenced blocks empty."""
    ticks = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.fullmatch(line)
        if ticks:
            if fence is not None and fence["ticks"] == ticks and not fence["info"].strip():
                ticks = ""
            yield ""
        elif fence is not None:
            ticks = fence["ticks"]
            yield ""
        else:
            yield line
