"""The clients' environments, made by name from locks beside this file; none of them is part of the project's own."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT

HERE = Path(__file__).parent
MADE = ROOT / ".venv" / "integrations"
"""Where they are made; `make clean` removes them."""
PYTHON = ("current", "older")
"""Environments of Python by name: `<name>.lock`."""
NODE = {"node": HERE / "node", "conformance": ROOT / "tests" / "conformance" / "node"}
"""Those of Node, by name: the folders of their `package.json` and lock."""
_PINNED = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;]+)", re.MULTILINE)


def lock_of(name: str) -> Path:
    """The file that pins an environment."""
    return NODE[name] / "package-lock.json" if name in NODE else HERE / f"{name}.lock"


def asked(name: str) -> list[str]:
    """The packages that an environment of Python is made for."""
    lines = (HERE / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return [line.partition("[")[0] for line in lines if line and not line.startswith("#")]


def pinned(name: str) -> dict[str, str]:
    """The versions that an environment of Python has, by package."""
    return {found["name"]: found["version"] for found in _PINNED.finditer(lock_of(name).read_text(encoding="utf-8"))}


def made(name: str) -> Path:
    """The folder of an environment, made anew if its lock is another than when it was made."""
    folder, lock = MADE / name, lock_of(name)
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / ".made"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name in NODE:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(lock.with_name(file), folder)
        # Not `npm ci`: it refuses locks without the optional packages of other platforms, and npm leaves those out.
        _run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)
        if name == "node":
            _run("npm", "rebuild", "--loglevel=error", "opencode-ai", cwd=folder)  # puts its program in place
    else:
        uv = str(ROOT / ".venv" / "bin" / "uv")
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder), cwd=HERE)
        _run(uv, "pip", "sync", "--quiet", "--python", str(folder), "--require-hashes", str(lock), cwd=HERE)
    stamp.write_text(digest, encoding="utf-8")
    return folder


def lock(arguments: list[str]) -> None:
    """Pins what is asked for; `--upgrade` among the arguments: at its newest."""
    for name in PYTHON:
        command = [str(ROOT / ".venv" / "bin" / "uv"), "pip", "compile", "--quiet", "--universal"]
        command += ["--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
        command += ["--custom-compile-command", "make integrations", *arguments, "--output-file", f"{name}.lock"]
        _run(*command, f"{name}.in", cwd=HERE)
    command = ["npm", "install", "--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved"]
    for name, folder in NODE.items():
        if "--upgrade" in arguments:
            lock_of(name).unlink(missing_ok=True)
        _run(*command, "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, env={**os.environ, "UV_NO_PROGRESS": "1"}, check=True, stdout=subprocess.DEVNULL)
