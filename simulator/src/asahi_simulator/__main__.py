"""`python -m asahi_simulator`: the provider simulator as a process."""

import random

from asahi_core.clock import SystemClock
from asahi_core.ids import SystemIds
from asahi_core.logs import configure_logs
from asahi_core.process import run_service
from asahi_core.settings import load_settings, refuse_to_start
from asahi_simulator.api.server import listen, serve
from asahi_simulator.settings import SimulatorSettings
from asahi_simulator.wiring import build

_REPEATABLE = 0


def main() -> None:
    """Serves HTTP until SIGTERM or SIGINT; exit code 78 if the settings do not permit it."""
    settings = load_settings(SimulatorSettings, "simulator")
    log = configure_logs("simulator", settings.log_level, settings.log_format)
    try:
        listener = listen(settings.simulator_address)
    except (OSError, OverflowError) as error:
        address = settings.simulator_address
        refuse_to_start("simulator", f"ASAHI_SIMULATOR_ADDRESS: cannot listen on {address}: {error}")
    chance = random.Random(_REPEATABLE) if settings.simulator_deterministic else random.Random()
    app = build(settings, SystemClock(), SystemIds(), chance)
    run_service(lambda stop: serve(app, listener, stop, settings.shutdown_grace_seconds, log))


if __name__ == "__main__":
    main()
