"""Runs the examples of a page against an installation and compares what they print with what the page shows."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.documents import ROOT, Block, blocks, mismatches
from tests.installation import Organization
from tests.integrations.environments import made
from tests.simulator import SimulatorControl

FOLDER = ROOT / "docs" / "integrations"
NOWHERE = "http://127.0.0.1:9"
"""The proxy of every example: nobody listens there, so that no provider can be reached by mistake."""
_RUN = {"python": ("python", "py"), "javascript": ("node", "mjs"), "bash": ("bash", "sh")}
_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page, the environment that its examples are run in (`own`: the project's), and the packages that it is about.

    `rules` are what the simulator is told before: an agent's task has tools called in a certain order. Pages with
    `in_tests` are run by `make test` as well, in the project's own environment, which has what they need.
    """

    name: str
    environment: str
    packages: tuple[str, ...] = ()
    rules: tuple[dict[str, Any], ...] = ()
    in_tests: bool = False

    @property
    def path(self) -> Path:
        """Where it is."""
        return FOLDER / f"{self.name}.md"


def _commands(*commands: str) -> tuple[dict[str, Any], ...]:
    """Rules by which the tool `bash` is called with one command after the other."""
    return tuple(
        {"mode": "tool_calls", "times": 1, "params": {"arguments": {"bash": {"command": command}}}}
        for command in commands
    )


_SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
_WRITE_NOTE: dict[str, Any] = {
    "mode": "tool_calls",
    "match": {"contains": "note.txt"},
    "params": {"arguments": {"write": {"filePath": "note.txt", "content": "hello\n"}}},
}
PAGES = (
    Page("openai-python", "current", ("openai",), in_tests=True),
    Page("openai-node", "node", ("openai",)),
    Page("anthropic-python", "current", ("anthropic",), in_tests=True),
    Page("anthropic-node", "node", ("@anthropic-ai/sdk",)),
    Page("langchain", "current", ("langchain", "langchain-openai")),
    Page("llamaindex", "older", ("llama-index-core", "llama-index-llms-openai-like")),
    Page("instructor", "older", ("instructor",)),
    Page("litellm", "current", ("litellm",)),
    Page("vercel-ai-sdk", "node", ("ai", "@ai-sdk/openai-compatible", "zod")),
    Page("openai-agents", "current", ("openai-agents",)),
    Page("pydantic-ai", "current", ("pydantic-ai-slim",)),
    Page("llm", "current", ("llm",)),
    Page("mini-swe-agent", "current", ("mini-swe-agent",), _commands("echo hello >note.txt", _SUBMIT)),
    Page("opencode", "node", ("opencode-ai",), (_WRITE_NOTE,)),
    Page("curl", "own", in_tests=True),
    Page("grpc", "own", in_tests=True),
)


class PageIsWrong(AssertionError):
    """An example failed, or printed something else than the page shows."""


def examples(page: Path) -> list[Block]:
    """The blocks that are run."""
    return [block for block in blocks(page) if block.language in _RUN and "not-run" not in block.flags]


def follow(page: Page, organization: Organization, work: Path, control: SimulatorControl, *, own: bool = False) -> None:
    """Runs a page's examples, each in a process of its own that knows nothing but URL and key; raises PageIsWrong.

    `own`: in the project's environment, whichever is the page's.
    """
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(sys.prefix) if own or page.environment == "own" else made(page.environment)
    control.rules(*page.rules)
    environment = surroundings(organization, work, folder)
    printed: str | None = None
    for block in blocks(page.path):
        if "not-run" in block.flags:
            printed = None
        elif block.language in _RUN:
            printed = _run(block, organization, folder if block.language == "javascript" else work, environment)
        elif "answer" in block.flags:
            wrong = mismatches(block, printed or "")
            if wrong:
                raise PageIsWrong(f"{block.place} is not what was printed: {'; '.join(wrong)}\n\n{printed}")
    with organization.client() as client:
        counted = client.get("/metrics").json()["data"]["requests"]
    if not counted:
        raise PageIsWrong(f"{page.name}: its examples asked Asahi nothing")


def surroundings(organization: Organization, home: Path, folder: Path) -> dict[str, str]:
    """The variables of an example: of the caller's own only PATH and LANG."""
    passed_on = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    return {
        **passed_on,
        **proxies,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "HOME": str(home),
        "PATH": f"{folder / 'bin'}:{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}",
        "ASAHI_URL": organization.installation.url,
        "ASAHI_API_KEY": organization.key,
    }


def _run(block: Block, organization: Organization, work: Path, environment: Mapping[str, str]) -> str:
    program, suffix = _RUN[block.language]
    script = work / f"{block.page.stem}-{block.line}.{suffix}"
    script.write_text(block.text.replace("127.0.0.1:50050", organization.installation.grpc_target), encoding="utf-8")
    return ran(block.place, [program, *(["-eu"] if program == "bash" else []), str(script)], work, environment)


def ran(place: str, command: Sequence[str], work: Path, environment: Mapping[str, str]) -> str:
    """What a command printed; raises PageIsWrong if it failed."""
    done = subprocess.run(
        command,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    if done.returncode:
        raise PageIsWrong(f"{place} fails with exit code {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
