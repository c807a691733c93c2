"""An `asahi up` as a real process, for tests: what it printed, what it started, how it ended."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

GUARD_S = 180.0
STAND_INS = (sys.executable, str(Path(__file__).parent / "stand_ins" / "laptop.py"))
REAL = (sys.executable, "-m", "asahi_cli", "up")
FREE_PORTS = {"PORT": "0", "ASAHI_GRPC_PORT_BASE": "0", "ASAHI_METRICS_PORT_BASE": "0"}
READY = "Asahi is ready"


class Installation:
    """Starts at once; a context manager that leaves nothing running."""

    def __init__(self, folder: Path, *options: str, command: tuple[str, ...], **environment: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.lines: list[str] = []
        base = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        self._process = subprocess.Popen(
            [*command, *options],
            env={**base, **FREE_PORTS, "ASAHI_DATA_DIR": str(self.data_dir), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._listens = True
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self._started: list[psutil.Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in [*self.programs(), *self._started]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait(GUARD_S)
        self._reading.join(GUARD_S)

    @property
    def output(self) -> str:
        """All that it has printed."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, times: int = 1) -> str:
        """The line that matches `pattern`, once it was printed `times` times."""
        give_up = time.monotonic() + GUARD_S
        while time.monotonic() < give_up:
            found = [line for line in list(self.lines) if re.search(pattern, line)]
            if len(found) >= times:
                return found[times - 1]
            if not self._reading.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no line like {pattern!r} in:\n{self.output}")

    def wait_ready(self) -> Self:
        """Waits for the welcome."""
        self.wait_for(READY)
        self.wait_for("Ctrl-C ends")
        self._started = self.programs()
        return self

    def told(self, row: str) -> str:
        """The value of a row of the welcome."""
        return self.wait_for(rf"^  {row}\s").split(row, 1)[1].split()[0]

    def programs(self) -> list[psutil.Process]:
        """The programs that run below it."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def program(self, name: str) -> psutil.Process:
        """The one called `name`."""
        return next(p for p in self.programs() if p.cmdline()[-1] in (name, f"asahi_{name}"))

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to `asahi up` alone."""
        os.kill(self.pid, number)

    def stop_reading(self) -> None:
        """Closes its output after the next line."""
        self._listens = False

    def wait_end(self) -> int:
        """Its exit code."""
        code = self._process.wait(GUARD_S)
        self._reading.join(GUARD_S)
        return code

    def orphans(self) -> list[psutil.Process]:
        """Programs that ran when it was ready and still do, a moment after its end."""
        _, alive = psutil.wait_procs(self._started, timeout=10)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def _read(self) -> None:
        if self._process.stdout is None:
            raise AssertionError("stdout is a pipe")
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))
                if not self._listens:
                    return
