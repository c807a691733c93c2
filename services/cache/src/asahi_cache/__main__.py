"""`python -m asahi_cache`: the cache service as a process."""

import asahi_core.frugal  # noqa: F401 - before anything imports what it does without

import random

from prometheus_client import REGISTRY

from asahi_cache import wiring
from asahi_cache.settings import CacheSettings
from asahi_core.clock import SystemClock
from asahi_core.ids import SystemIds
from asahi_core.logs import configure_logs
from asahi_core.process import run_service
from asahi_core.settings import load_settings, refuse_to_start
from asahi_core.telemetry import serve_metrics


def main() -> None:
    """Serves until SIGTERM or SIGINT; exit code 78 if the settings do not permit it."""
    settings = load_settings(CacheSettings, "cache")
    log = configure_logs("cache", settings.log_level, settings.log_format)
    try:
        service = wiring.build(settings, SystemClock(), SystemIds(), random.random, log)
        REGISTRY.register(service.collector)
        serve_metrics(settings.metrics_address)
        run_service(lambda stop: wiring.run(service, settings, log, stop))
    except OSError as error:
        refuse_to_start("cache", str(error))


if __name__ == "__main__":
    main()
