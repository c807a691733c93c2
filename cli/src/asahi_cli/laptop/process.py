"""One run of a program: a process group of its own that dies with us, its output line by line."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from asahi_cli.laptop import tether
from asahi_cli.laptop.programs import Program

_TETHER = str(Path(tether.__file__))
_READ_BYTES = 64 * 1024
_LONGEST_LINE = 1024 * 1024


class Process:
    """A program that runs."""

    def __init__(self, child: asyncio.subprocess.Process, reading: "asyncio.Task[None]") -> None:
        self._child = child
        self._reading = reading

    @classmethod
    async def start(cls, program: Program, on_line: Callable[[str], None]) -> "Process":
        """Starts `program`; every line that it prints goes to `on_line`.

        To be called in the main thread: the kernel ties the program to the thread that starts it.
        """
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _TETHER, str(os.getpid()), *program.command),
            env=program.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,  # a Ctrl-C reaches us alone, and we end the programs in order
            umask=0o077,
        )
        if child.stdout is None:
            raise AssertionError("stdout is a pipe")
        return cls(child, asyncio.create_task(_read(child.stdout, on_line)))

    async def wait(self) -> int:
        """Its exit code (negative: a signal killed it), after its last line; all that it started is gone."""
        code = await self._child.wait()
        self.kill()
        await self._reading
        return code

    async def end(self, grace_s: float) -> None:
        """Asks it to end, and kills it if it has not within `grace_s` seconds."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._child.wait()
        self.kill()
        await self._child.wait()

    def kill(self) -> None:
        """Ends it, and all that it started, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)


async def _read(output: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    async for line in _lines(output):
        on_line(line.decode("utf-8", "replace").rstrip("\r"))


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    while chunk := await output.read(_READ_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest
