"""`python -m asahi_router`: the router service as a process."""

import asahi_core.frugal  # noqa: F401 - before anything imports what it does without

import random

from asahi_core.clock import SystemClock
from asahi_core.logs import configure_logs
from asahi_core.process import run_service
from asahi_core.settings import load_settings, refuse_to_start
from asahi_core.telemetry import serve_metrics
from asahi_router import wiring
from asahi_router.settings import RouterSettings


def main() -> None:
    """Serves until SIGTERM or SIGINT; exit code 78 if the settings, the catalog or the data folder do not permit it."""
    settings = load_settings(RouterSettings, "router")
    log = configure_logs("router", settings.log_level, settings.log_format)
    try:
        service = wiring.build(settings, SystemClock(), random.random)
        serve_metrics(settings.metrics_address)
        run_service(lambda stop: wiring.run(service, settings, log, stop))
    except (OSError, wiring.WrongCatalog, wiring.NoProvider) as error:
        refuse_to_start("router", str(error))


if __name__ == "__main__":
    main()
