"""Which programs make up an installation, and what each of them is told. Each gets only its own secrets."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from asahi_cli.laptop.addresses import HOST, SERVICES, Addresses
from asahi_cli.laptop.readiness import GrpcHealth, HttpReady, Probe
from asahi_cli.settings import LaptopSettings

SIMULATOR = "simulator"
# -P: a file in the user's folder never stands in for a library's module.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    name: (sys.executable, "-P", "-m", f"asahi_{name}") for name in (*SERVICES, SIMULATOR)
}
_END_ORDER = ("edge", "router", "cache", "auth", "billing", SIMULATOR)
_DEFAULTS = {
    "ASAHI_SHUTDOWN_GRACE_SECONDS": "5",
    "ASAHI_SIGNUP": "open",  # everything listens on loopback
    "GRPC_VERBOSITY": "NONE",  # what grpc has to say, the services say in one line
}


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    """All of it; nothing is inherited."""
    probe: Probe


def programs(
    settings: LaptopSettings, addresses: Addresses, admin_secret: str, commands: Mapping[str, tuple[str, ...]]
) -> list[Program]:
    """The programs in the order in which they end: callers before those whom they call."""
    own = {name: _own_environment(name, settings, addresses, admin_secret) for name in _END_ORDER}
    probes: dict[str, Probe] = {name: GrpcHealth(addresses.grpc[name]) for name in SERVICES}
    probes |= {
        "edge": HttpReady(addresses.http, "/health/ready"),
        SIMULATOR: HttpReady(addresses.simulator, "/v1/models"),
    }
    wanted = [name for name in _END_ORDER if name != SIMULATOR or settings.simulated]
    shared = {**_DEFAULTS, **settings.shared, "ASAHI_LOG_FORMAT": "json"}
    return [Program(name, commands[name], shared | own[name], probes[name]) for name in wanted]


def _own_environment(name: str, settings: LaptopSettings, addresses: Addresses, admin_secret: str) -> dict[str, str]:
    grpc = addresses.grpc
    if name == SIMULATOR:
        return {"ASAHI_SIMULATOR_ADDRESS": addresses.simulator}
    told = {
        "ASAHI_DATA_DIR": str(settings.data_dir),
        "ASAHI_GRPC_ADDRESS": grpc[name],
        "ASAHI_METRICS_ADDRESS": addresses.metrics[name],
    }
    if name == "edge":
        told |= {f"ASAHI_{other.upper()}_TARGET": grpc[other] for other in SERVICES if other != "edge"}
        told |= {"ASAHI_HTTP_ADDRESS": addresses.http, "ASAHI_ADMIN_SECRET": admin_secret}
    if name == "router":
        told |= {
            "ASAHI_BILLING_TARGET": grpc["billing"],
            "ASAHI_CACHE_TARGET": grpc["cache"],
            **_way_to_providers(settings),
        }
        if settings.simulated:
            told["ASAHI_SIMULATOR_URL"] = f"http://{addresses.simulator}"
    return told


def _way_to_providers(settings: LaptopSettings) -> dict[str, str]:
    """Provider keys and proxies, the latter never for what is on this machine."""
    told = dict(settings.provider)
    for variable in ("NO_PROXY", "no_proxy"):
        told[variable] = ",".join(filter(None, (told.get(variable), HOST, "localhost")))
    return told
