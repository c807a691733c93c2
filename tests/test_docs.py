"""The documents are true: their commands run, their answers are those shown, their links lead somewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.documents import ROOT, RUNNABLE, Block, anchors, blocks, code_spans, guides, links, mismatches, pages
from tests.installation import Organization
from tests.laptop import Laptop, running_laptop

REPLACED = {
    # The test has started `asahi up`, as `make run` does: its output is what the reader sees.
    "make run": "make -n run; cat ../up.log",
    # The test is in a folder that looks like a clone.
    "git clone https://git.example.com/asahi.git": "true",
    "cd asahi": "true",
    # This test is a part of `make test`, which runs beside `make check`; the others take minutes. That they exist, and
    # what they would do, is looked at.
    "make test": "make -n test",
    "make check": "make -n check",
    "make bench": "make -n bench",
    "make guard": "make -n guard",
    "make verify": "make -n verify",
    # pytest takes its configuration from the real folder.
    ".venv/bin/pytest -q services/cache/tests/test_memory.py": (
        f"(cd {ROOT} && {sys.executable} -m pytest -q -p no:cacheprovider services/cache/tests/test_memory.py)"
    ),
    # They would write into the real pages.
    ".venv/bin/python -m tests.api_contract": f"(cd {ROOT} && {sys.executable} -c 'import tests.api_contract')",
    ".venv/bin/python -m tests.translation_page": f"(cd {ROOT} && {sys.executable} -c 'import tests.translation_page')",
}
NOT_RUN = {
    ("docs/QUICK_START.md", "OPENAI_API_KEY=sk-… make run"): "needs a provider's key",
    (
        "docs/LOCAL_TESTING_GUIDE.md",
        "PORT=0 ASAHI_GRPC_PORT_BASE=0 ASAHI_METRICS_PORT_BASE=0 ASAHI_DATA_DIR=/tmp/second make run",
    ): "the page has one installation running already",
    ("docs/LOCAL_TESTING_GUIDE.md", "from tests.installation import Organization"): "its like is test_first_request",
}
"""Page and first line of the blocks that are not run, and why."""
ALL_PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]
TOP_FOLDERS = tuple(f"{entry.name}/" for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def to_run(page: Path) -> list[Block]:
    """The blocks of a page that are run."""
    return [block for block in blocks(page) if block.language in RUNNABLE and "not-run" not in block.flags]


def code_of(line: str) -> str:
    """A line of shell without the comment after it."""
    return line.partition("    #")[0].strip()


WITH_COMMANDS = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in guides() if to_run(page)]


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """An installation for one page alone, so that its answers do not depend on other pages."""
    with running_laptop(tmp_path) as running:
        yield running


def followed(laptop: Laptop, page: Path) -> dict[int, str]:
    """What each block of a page printed, by its line."""
    lines = (line.strip() for block in to_run(page) for line in block.text.splitlines())
    replaced = {line: REPLACED[code_of(line)] for line in lines if code_of(line) in REPLACED}
    return {outcome.block.line: outcome.stdout for outcome in laptop.follow(to_run(page), replaced)}


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_who_follows_a_page_word_for_word_sees_what_it_shows(laptop: Laptop, page: Path) -> None:
    printed = followed(laptop, page)
    line = 0
    for block in blocks(page):
        if block.line in printed:
            line = block.line
        if "answer" in block.flags:
            wrong = mismatches(block, printed[line])
            assert not wrong, f"{block.place} is not what was printed: {'; '.join(wrong)}\n\n{printed[line]}"


def test_every_block_is_run_or_said_not_to_be() -> None:
    left_out = set()
    for page in guides():
        before: Block | None = None
        for block in blocks(page):
            assert block.language not in {"console", "sh", "shell", "zsh", "py"}, f"{block.place}: say bash or python"
            assert set(block.flags) <= {"answer", "not-run"}, f"{block.place}: no such flag"
            if "answer" in block.flags:
                assert before is not None, f"{block.place} answers nothing"
                assert before.language in RUNNABLE, f"{block.place} does not follow a block that is run"
                assert "not-run" not in before.flags, f"{block.place} answers a block that is not run"
            if "not-run" in block.flags:
                left_out.add((str(page.relative_to(ROOT)), block.text.splitlines()[0]))
            before = block
    assert left_out == set(NOT_RUN)


@pytest.mark.parametrize(
    ("language", "claimed", "printed", "fits"),
    [
        ("json", '{"cost": 0.5, "…": "…"}', '{"cost": 0.25, "tier": 1}', True),
        ("json", '{"cost": 0.5}', '{"cost": 0}', False),
        ("json", '{"cost": 0}', '{"cost": 0.25}', False),
        ("json", '{"tier": 1}', '{"tier": 2}', False),
        ("json", '{"hit": true}', '{"hit": 1}', False),
        ("json", '{"tier": 1}', '{"tier": 1, "cost": 0}', False),
        ("json", '{"tier": 1, "…": "…"}', '{"cost": 0}', False),
        ("json", '["a", "…"]', '["a", "b"]', True),
        ("json", '["a"]', '["a", "b"]', False),
        ("json", '{"id": "key_…"}', '{"id": "org_1"}', False),
        ("json", "{}", "<html>", False),
        ("text", "first\n…\nlast", "first\nlast", True),
        ("text", "cost $…", "cost $0.1\nand more", True),
        ("text", "first\nlast", "first\nsecond\nlast", False),
    ],
)
def test_an_answer_that_is_not_what_a_page_shows_is_found_out(
    language: str, claimed: str, printed: str, fits: bool
) -> None:
    assert bool(mismatches(Block(ROOT / "README.md", 1, language, ("answer",), claimed), printed)) is not fits


def test_a_command_that_fails_is_found_out(tmp_path: Path) -> None:
    two = [Block(ROOT / "README.md", line, "bash", (), text) for line, text in ((1, "true"), (5, "false\ntrue"))]
    (tmp_path / "clone").mkdir()
    with pytest.raises(AssertionError, match=r"README\.md:5 fails"):
        Laptop(tmp_path / "clone", {}).follow(two, {})


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    for line, target in links(page):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / unquote(name)).resolve() if name else page
        assert linked.exists(), f"{page.relative_to(ROOT)}:{line}: there is no {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.relative_to(ROOT)}:{line}: {name or page.name} has no #{anchor}"


@pytest.mark.parametrize("page", ALL_PAGES)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for line, code in code_spans(page):
        if code.startswith(TOP_FOLDERS) and not set(code) & set("<>{}*… "):
            path = code.partition(":")[0]
            assert (ROOT / path).exists() or (page.parent / path).exists(), (
                f"{page.relative_to(ROOT)}:{line}: there is no {code}"
            )


def test_the_grpc_example_is_short_and_says_what_http_says(organization: Organization, tmp_path: Path) -> None:
    example = next(b for b in blocks(ROOT / "docs" / "INTEGRATION_GUIDE.md") if "import grpc" in b.text)
    assert len(example.text.splitlines()) <= 15
    installation = organization.installation
    program = example.text.replace("127.0.0.1:50050", installation.grpc_target)

    def run(text: str) -> tuple[int, int, str, str]:
        """Costs, tier and answer of the plain call, and the streamed answer."""
        (tmp_path / "example.py").write_text(text, encoding="utf-8")
        environment = {**os.environ, "ASAHI_API_KEY": organization.key}
        command = [sys.executable, str(tmp_path / "example.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        _, cost, tier, rest = done.stdout.split(" ", 3)
        plain, streamed = rest[: len(rest) // 2], rest[len(rest) // 2 + 1 :]
        return int(cost), int(tier), plain, streamed

    misses = run(program.replace("metadata = [", 'metadata = [("x-asahi-cache", "off"), '))
    first, second = run(program), run(program)
    with organization.client() as client:
        body = {"prompt": "Why is the sky blue?"}
        hit = client.post("/infer", json=body).json()
        miss = client.post("/infer", json=body, headers={"x-asahi-cache": "off"}).json()
        stream = client.post("/infer", json={**body, "stream": True}).text
    nanos = round(miss["cost"] * 10**9)
    assert hit["cache_tier"] == 1
    assert misses == (nanos, 0, miss["response"], miss["response"])
    assert first == (nanos, 0, hit["response"], hit["response"])
    assert second == (0, 1, hit["response"], hit["response"])
    assert "event: done" in stream
