"""The pages of docs/integrations keep to their form and to the locks; those that need no more are run here as well.

All of them are run by `python -m tests.integrations`, a part of `make verify`.
"""

import re
from pathlib import Path

import pytest

from tests.documents import blocks
from tests.installation import Organization
from tests.integrations.environments import NODE, PYTHON, asked, lock_of, pinned
from tests.integrations.pages import FOLDER, PAGES, Page, PageIsWrong, examples, follow
from tests.integrations.versions import table, versions, written
from tests.simulator import SimulatorControl

ALL = [pytest.param(page, id=page.name) for page in PAGES]


def test_every_page_is_one_that_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == {page.name for page in PAGES}


@pytest.mark.parametrize("page", ALL)
def test_a_page_says_how_to_install_shows_an_answer_and_what_is_different(page: Page) -> None:
    found = list(blocks(page.path))
    install = [block.text for block in found if "not-run" in block.flags]
    assert examples(page.path), "nothing is run"
    assert any("answer" in block.flags and block.text.strip() != "…" for block in found), "no answer is claimed"
    assert "## What is different" in page.path.read_text(encoding="utf-8")
    assert len(install) == (1 if page.packages else 0), "what is not run is the installation alone"
    for text in install:
        assert re.match(r"(pip|npm) install ", text)
        assert set(page.packages) <= set(re.sub(r"\[[^]]*]|\"", "", text).split()[2:])


def test_every_package_of_a_page_is_pinned_with_hashes_and_without_an_address() -> None:
    for page in PAGES:
        assert versions(page).keys() == set(page.packages)
    for name in PYTHON:
        assert set(asked(name)) <= pinned(name).keys()
        assert lock_of(name).read_text(encoding="utf-8").count("--hash=") >= len(pinned(name))
    manifests = [folder / "package.json" for folder in NODE.values()]
    for path in (*(lock_of(name) for name in (*PYTHON, *NODE)), *manifests):
        assert "://" not in re.sub(r'"url": "[^"]*"', "", path.read_text(encoding="utf-8")), path.name


def test_the_readme_names_the_versions_that_are_pinned() -> None:
    text, day = written()
    assert text == table(day), "run `make integrations`"


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if page.in_tests])
def test_the_example_prints_what_the_page_shows(page: Page, organization: Organization, tmp_path: Path) -> None:
    control = SimulatorControl(organization.installation.url_of("simulator"))
    follow(page, organization, tmp_path / "work", control, own=True)


def test_a_page_that_shows_something_else_is_found_out(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "curl.md").write_text("```bash\ncurl -s $ASAHI_URL/health\n```\n\n```json answer\n{}\n```\n")
    monkeypatch.setattr("tests.integrations.pages.FOLDER", tmp_path)
    monkeypatch.setattr("tests.documents.ROOT", tmp_path)
    control = SimulatorControl(organization.installation.url_of("simulator"))
    with pytest.raises(PageIsWrong, match=r"is not what was printed"):
        follow(Page("curl", "own"), organization, tmp_path / "work", control)
