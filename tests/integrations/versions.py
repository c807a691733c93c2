"""The table in docs/integrations/README.md: which clients are pinned, and when they were seen to work."""

import json
import re
from datetime import date

from tests.integrations.environments import lock_of, pinned
from tests.integrations.pages import FOLDER, PAGES, Page

README = FOLDER / "README.md"
_TABLE = re.compile(r"(?<=<!-- versions -->\n).*?(?=<!-- end of versions -->)", re.DOTALL)
_SEEN = re.compile(r"seen to work on (\d{4}-\d{2}-\d{2})")


def versions(page: Page) -> dict[str, str]:
    """The pinned version of each package that a page is about."""
    if page.environment == "own":
        return {}
    if page.environment == "node":
        locked = json.loads(lock_of("node").read_text(encoding="utf-8"))["packages"]
        return {name: locked[f"node_modules/{name}"]["version"] for name in page.packages}
    return {name: pinned(page.environment)[name] for name in page.packages}


def table(day: date) -> str:
    """The text between the marks."""
    rows = [f"\nThese versions were seen to work on {day.isoformat()}:\n", "| page | versions |", "| --- | --- |"]
    for page in PAGES:
        title = page.path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        seen = ", ".join(f"{name} {version}" for name, version in versions(page).items())
        rows.append(f"| [{title}]({page.name}.md) | {seen or '–'} |")
    return "\n".join(rows) + "\n\n"


def written() -> tuple[str, date]:
    """The table as it is in the page, and its day."""
    found = _TABLE.search(README.read_text(encoding="utf-8"))
    day = _SEEN.search(found[0]) if found else None
    assert found is not None, f"{README.name} has no marks for the table of versions"
    assert day is not None, f"{README.name} says no day"
    return found[0], date.fromisoformat(day[1])


def write_table(day: date) -> None:
    """Puts the table into the page."""
    text = README.read_text(encoding="utf-8")
    README.write_text(_TABLE.sub(lambda _: table(day), text), encoding="utf-8")
