"""Installs the other gateways by package name, each at its pinned version, into a folder of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

LITELLM = "1.109.3"
PORTKEY = "1.15.2"
FOLDER = Path(__file__).parents[2] / ".venv" / "peers"
_ANY_VERSION = "litellm-proxy-extras\nlitellm-enterprise\n"
"""Migrations of a database and paid features, neither of which is used: their exact versions are not on every index."""


def litellm() -> Path:
    """LiteLLM's command.

    Raises:
        subprocess.CalledProcessError: it cannot be installed.
    """
    folder = FOLDER / f"litellm-{LITELLM}"
    command = folder / "bin" / "litellm"
    if not command.exists():
        _say(f"installing LiteLLM {LITELLM} into {folder}")
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", folder], check=True)
        override = folder / "override.txt"
        override.write_text(_ANY_VERSION)
        named = f"litellm[proxy]=={LITELLM}"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", folder, "--override", override, named], check=True)
    return command


def portkey() -> Path:
    """The script that starts Portkey's gateway.

    Raises:
        subprocess.CalledProcessError: it cannot be installed.
    """
    folder = FOLDER / f"portkey-{PORTKEY}"
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        _say(f"installing Portkey {PORTKEY} into {folder}")
        npm = shutil.which("npm") or "npm"
        subprocess.run(
            [npm, "install", "--silent", "--no-save", "--prefix", folder, f"@portkey-ai/gateway@{PORTKEY}"], check=True
        )
    return script


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
