"""The loopback addresses of an installation, and that nobody else takes them."""

import errno
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from asahi_cli.errors import WrongConfiguration
from asahi_cli.settings import LaptopSettings

HOST = "127.0.0.1"
SERVICES = ("edge", "auth", "cache", "router", "billing")
"""In the order of their ports."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Every one as host:port."""

    http: str
    simulator: str
    grpc: Mapping[str, str]
    """By service."""
    metrics: Mapping[str, str]
    """By service."""

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"http://{self.http}"


@contextmanager
def reserved_addresses(settings: LaptopSettings) -> Iterator[Addresses]:
    """Addresses that are free, kept so for the programs until the end.

    On Linux a socket that is bound but does not listen keeps a port from all but those who bind it explicitly, as the
    programs do, also when they are started again. Elsewhere a port is only checked.

    Raises:
        WrongConfiguration: a port is in use, or not permitted.
    """
    with ExitStack() as kept:

        def reserve(port: int, purpose: str, remedy: str) -> str:
            bound = _bind(port, purpose, remedy)
            taken = f"{HOST}:{bound.getsockname()[1]}"
            if sys.platform == "linux":
                kept.enter_context(bound)
            else:
                bound.close()
            return taken

        def after(base: int, index: int) -> int:
            return base + index if base else 0

        grpc_base, metrics_base = settings.grpc_port_base, settings.metrics_port_base
        yield Addresses(
            http=reserve(settings.http_port, "HTTP", "--port (or PORT)"),
            grpc={
                name: reserve(after(grpc_base, i), f"gRPC of {name}", "--grpc-port-base (or ASAHI_GRPC_PORT_BASE)")
                for i, name in enumerate(SERVICES)
            },
            metrics={
                name: reserve(
                    after(metrics_base, i), f"metrics of {name}", "--metrics-port-base (or ASAHI_METRICS_PORT_BASE)"
                )
                for i, name in enumerate(SERVICES)
            },
            simulator=reserve(0, "the simulator", "the machine's range of free ports"),
        )


def _bind(port: int, purpose: str, remedy: str) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            fault = f"port {port} ({purpose}) is in use by another program: stop that one"
        else:
            fault = f"port {port} ({purpose}) cannot be used ({error.strerror}): choose one above 1023"
        raise WrongConfiguration(f"{fault}, or choose other ports with {remedy}; 0 takes any free port") from error
    return bound
