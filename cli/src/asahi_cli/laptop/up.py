"""The story of `asahi up`: folder, ports, programs, first key, welcome; until it is told to stop."""

import asyncio
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TextIO

from asahi_cli.credentials import Credentials
from asahi_cli.laptop.addresses import Addresses, reserved_addresses
from asahi_cli.laptop.data_folder import opened_data_folder
from asahi_cli.laptop.first_key import kept_credentials, working_credentials
from asahi_cli.laptop.logs import Log, RawLog, ReadableLog
from asahi_cli.laptop.programs import COMMANDS, programs
from asahi_cli.laptop.supervisor import Supervisor
from asahi_cli.laptop.welcome import Welcome
from asahi_cli.settings import LaptopSettings
from asahi_cli.terminal import Output

_START_WITHIN_S = 60.0
_END_WITHIN_S = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IMPATIENT_S = 1.0


def up(
    settings: LaptopSettings,
    *,
    out: TextIO,
    colour: bool,
    as_json: bool,
    commands: Mapping[str, tuple[str, ...]] = COMMANDS,
) -> None:
    """Runs an installation until SIGINT, SIGTERM or SIGHUP, or until nobody reads `out` any more.

    `commands` are the programs by name.

    Raises:
        CommandError: it cannot start, or a program refuses its configuration; nothing is left running.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(opened_data_folder(settings.data_dir))
        addresses = stack.enter_context(reserved_addresses(settings))
        kept = kept_credentials(settings.data_dir)

        async def run() -> None:
            stop = asyncio.Event()
            output = Output(out, stop.set)
            log = RawLog(output) if as_json else ReadableLog(output, colour=colour)
            await _run(settings, addresses, kept, commands, started=started, stop=stop, log=log)

        asyncio.run(run())


async def _run(
    settings: LaptopSettings,
    addresses: Addresses,
    kept: Credentials,
    commands: Mapping[str, tuple[str, ...]],
    *,
    started: float,
    stop: asyncio.Event,
    log: Log,
) -> None:
    admin_secret = settings.admin_secret or kept.admin_secret or secrets.token_urlsafe(32)
    supervisor = Supervisor(
        programs(settings, addresses, admin_secret, commands),
        log,
        start_within_s=_START_WITHIN_S,
        end_within_s=_END_WITHIN_S,
    )

    async def greet() -> None:
        found = await asyncio.to_thread(working_credentials, kept, addresses.url, admin_secret, settings.data_dir)
        seconds = round(time.monotonic() - started, 3)
        log.welcome(Welcome(found, addresses, settings.data_dir, settings.simulated, settings.unused, seconds))

    _listen_to_signals(stop, supervisor, log)
    await supervisor.run(stop, greet)
    log.say("stopped", "stopped")


def _listen_to_signals(stop: asyncio.Event, supervisor: Supervisor, log: Log) -> None:
    """The first ends everything in order, one that comes later ends it at once.

    One Ctrl-C may arrive twice (from the terminal and from `make`): what follows closely is not meant as a second one.
    """
    loop = asyncio.get_running_loop()
    told_at = 0.0

    def told() -> None:
        nonlocal told_at
        if not told_at:
            told_at = loop.time()
            stop.set()
            log.say("stopping", "stopping; Ctrl-C once more ends everything at once")
        elif loop.time() - told_at > _IMPATIENT_S:
            log.say("killing", "ending everything at once")
            supervisor.kill()

    for number in _SIGNALS:
        loop.add_signal_handler(number, told)
