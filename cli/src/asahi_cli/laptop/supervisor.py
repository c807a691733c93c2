"""Keeps programs running: all start at once, one that crashes is started again, all end in order."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from asahi_cli.errors import FAILED, WRONG_CONFIGURATION, CommandError
from asahi_cli.laptop.logs import Log
from asahi_cli.laptop.process import Process
from asahi_cli.laptop.programs import Program
from asahi_cli.laptop.readiness import until_ready

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_STEADY_S = 30.0
_TRIES_AT_START = 3


class Supervisor:
    """Runs `programs`, which are in the order in which they end. For one use."""

    def __init__(self, programs: Sequence[Program], log: Log, *, start_within_s: float, end_within_s: float) -> None:
        self._kept = [_Kept(program, log) for program in programs]
        self._start_within_s = start_within_s
        self._end_within_s = end_within_s

    async def run(self, stop: asyncio.Event, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Returns after `stop` is set and every program has ended; awaits `when_ready` once all serve.

        Raises:
            CommandError: a program is configured wrongly, or does not come up; all have ended.
        """
        keepers = [asyncio.create_task(kept.run()) for kept in self._kept]
        starting = asyncio.create_task(self._start(when_ready))
        stopping = asyncio.create_task(stop.wait())
        try:
            await _first_end({stopping, starting, *keepers}, not_counting=starting)
        finally:
            starting.cancel()
            stopping.cancel()
            for kept in self._kept:
                kept.let_go()
            for kept in self._kept:
                await kept.end(self._end_within_s)
            await asyncio.gather(starting, stopping, *keepers, return_exceptions=True)

    def kill(self) -> None:
        """Ends every program at once."""
        for kept in self._kept:
            kept.kill()

    async def _start(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(self._start_within_s):
                await asyncio.gather(*(kept.ready.wait() for kept in self._kept))
        except TimeoutError as error:
            late = ", ".join(kept.name for kept in self._kept if not kept.ready.is_set())
            raise CommandError(
                f"not ready after {self._start_within_s:.0f} s: {late}; the log lines above may say why, else try "
                "ASAHI_LOG_LEVEL=debug"
            ) from error
        await when_ready()


class _Kept:
    """One program that is kept running."""

    def __init__(self, program: Program, log: Log) -> None:
        self.name = program.name
        self.ready = asyncio.Event()
        self._program = program
        self._log = log
        self._process: Process | None = None
        self._last_words = ""
        self._ending = False
        self._pause = asyncio.Event()

    async def run(self) -> None:
        """Runs the program again and again, until it is let go and ends."""
        crashes, pause_s = 0, _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._ending:
            started = loop.time()
            code = await self._run_once(crashes > 0)
            if self._ending:
                return
            if loop.time() - started > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            crashes += 1
            self._give_up_if_useless(code, crashes)
            self._log.say(
                "crashed",
                f"{self.name} ended ({_manner(code)}); it starts again in {pause_s:g} s",
                program=self.name,
                exit_code=code,
                pause_s=pause_s,
            )
            await self._wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def let_go(self) -> None:
        """Lets the program run on, but starts it no more."""
        self._ending = True
        self._pause.set()

    async def end(self, grace_s: float) -> None:
        """Ends the program, which was let go; kills it if it has not ended within `grace_s` seconds."""
        if self._process is not None:
            await self._process.end(grace_s)

    def kill(self) -> None:
        """Ends the program at once."""
        if self._process is not None:
            self._process.kill()

    async def _run_once(self, again: bool) -> int:
        self._process = process = await Process.start(self._program, self._take_line)
        if self._ending:  # while it was being started
            process.kill()
        watching = asyncio.create_task(self._watch(again))
        try:
            return await process.wait()
        finally:
            watching.cancel()
            self._process = None

    async def _watch(self, again: bool) -> None:
        await until_ready(self._program.probe)
        self.ready.set()
        if again:
            self._log.say("recovered", f"{self.name} serves again", program=self.name)

    def _take_line(self, line: str) -> None:
        if line and not line.startswith("{"):
            self._last_words = line
        self._log.line(self.name, line)

    def _give_up_if_useless(self, code: int, crashes: int) -> None:
        if code == os.EX_CONFIG:
            raise CommandError(self._last_words or f"{self.name} refuses its configuration", WRONG_CONFIGURATION)
        if not self.ready.is_set() and crashes == _TRIES_AT_START:
            words = f": {self._last_words}" if self._last_words else ""
            raise CommandError(f"{self.name} does not start ({_manner(code)}){words}", FAILED)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._pause.wait()
        except TimeoutError:
            return


async def _first_end(tasks: set["asyncio.Task[None] | asyncio.Task[bool]"], not_counting: "asyncio.Task[None]") -> None:
    """Returns, or raises what was raised, when the first of `tasks` ends; `not_counting` may end well."""
    pending = tasks
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if done - {not_counting}:
            return


def _manner(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
