"""`make run` as a reader of the documents has it: `asahi up` in a folder that looks like a clone, on free ports."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.documents import ROOT, Block
from tests.installation import free_port

_READY_WITHIN_S = 180.0
_PAGE_WITHIN_S = 600.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a block printed."""

    block: Block
    stdout: str


@dataclass(frozen=True, slots=True)
class Laptop:
    """A running `asahi up`. `addresses` are its own, by those that the documents name."""

    clone: Path
    addresses: dict[str, str]

    def follow(self, blocks: Sequence[Block], replaced: dict[str, str]) -> list[Outcome]:
        """Runs blocks one after the other in one shell, as a reader would; lines in `replaced` run as given there.

        A command that fails ends it with an AssertionError that names the block.
        """
        work = self.clone.with_name("blocks")
        work.mkdir(exist_ok=True)
        script = ["set -euo pipefail"]
        for index, block in enumerate(blocks):
            text = "\n".join(replaced.get(line.strip(), line) for line in block.text.splitlines())
            text = _replace(text, self.addresses)
            if block.language == "python":
                (work / f"{index}.py").write_text(text, encoding="utf-8")
                text = f".venv/bin/python {shlex.quote(str(work / f'{index}.py'))}"
            script.append(f"{{\n{text}\n}} >{work}/{index}.out 2>{work}/{index}.err")
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=self.clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PAGE_WITHIN_S,
            check=False,
        )
        printed = [work / f"{index}.out" for index in range(len(blocks)) if (work / f"{index}.out").exists()]
        if done.returncode:
            last = blocks[max(len(printed) - 1, 0)]
            errors = printed[-1].with_suffix(".err").read_text() if printed else ""
            raise AssertionError(f"{last.place} fails with exit code {done.returncode}:\n{errors}{done.stderr}")
        documented = {own: name for name, own in self.addresses.items()}
        return [
            Outcome(block, _replace(path.read_text(), documented)) for block, path in zip(blocks, printed, strict=True)
        ]


@contextmanager
def running_laptop(folder: Path) -> Iterator[Laptop]:
    """Starts `asahi up` in a clone made of links to this project's entries, and ends it as Ctrl-C does."""
    clone = folder / "asahi"
    clone.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in {".asahi", ".git", ".venv"}:
            (clone / entry.name).symlink_to(entry)
    (clone / ".venv").symlink_to(Path(sys.prefix))
    ports = {"http": free_port(), "grpc": _free_ports(5), "metrics": _free_ports(5)}
    log = clone.with_name("up.log")
    command = [".venv/bin/asahi", "up", "--port", str(ports["http"]), "--grpc-port-base", str(ports["grpc"])]
    command += ["--metrics-port-base", str(ports["metrics"])]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    with log.open("wb") as output:
        up = subprocess.Popen(command, cwd=clone, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        text = _wait_ready(up, log)
        simulator = re.search(r"simulator serving address=http://(\S+)", text)
        assert simulator is not None, f"the log does not say where the simulator is:\n{text}"
        addresses = {"127.0.0.1:8000": f"127.0.0.1:{ports['http']}", "127.0.0.1:40123": simulator[1]}
        addresses |= {f"127.0.0.1:{50050 + i}": f"127.0.0.1:{ports['grpc'] + i}" for i in range(5)}
        addresses |= {f"127.0.0.1:{9100 + i}": f"127.0.0.1:{ports['metrics'] + i}" for i in range(5)}
        yield Laptop(clone, addresses)
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(timeout=60)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def _wait_ready(up: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _READY_WITHIN_S
    while "Ctrl-C ends everything." not in (text := log.read_text(errors="replace")):
        assert up.poll() is None, f"`asahi up` ended with {up.returncode}:\n{text}"
        assert time.monotonic() < deadline, f"`asahi up` is not ready:\n{text}"
        time.sleep(0.05)
    return text


def _free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    while True:
        first = free_port()
        try:
            with ExitStack() as bound:
                for port in range(first, first + count):
                    bound.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


def _replace(text: str, addresses: dict[str, str]) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", lambda match: addresses.get(match[0], match[0]), text)
