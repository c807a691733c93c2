"""The Qdrant server that rigs break: the binary `QDRANT_BIN`, the server at `QDRANT_URL`, else a stand-in."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.installation import free_port
from tests.slow_proxy import SlowProxy, slow_proxy
from tests.store_faults import SLOWED_S

_START_S = 120.0
_FOR_EVER_S = 3600.0


@dataclass(slots=True)
class QdrantProcess:
    """A server of this machine."""

    command: tuple[str, ...]
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    popen: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Returns when it takes connections."""
        self.popen = subprocess.Popen(self.command, env=os.environ | self.environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.popen is not None
        self.popen.send_signal(number)

    def kill(self) -> None:
        """Ends it at once."""
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait()


@dataclass(frozen=True, slots=True)
class Qdrant:
    """A server behind a proxy; `process` is None where it is not this rig's, and the proxy then plays its faults."""

    name: str
    proxy: SlowProxy
    process: QdrantProcess | None

    @property
    def url(self) -> str:
        """What `QDRANT_URL` takes."""
        return f"http://127.0.0.1:{self.proxy.port}"

    def break_it(self, fault: str) -> None:
        """Kills it, stops it (SIGSTOP), or has everything take half a second longer."""
        if fault == "slowed":
            self.proxy.delay_s = SLOWED_S / 2  # each way
        elif fault == "killed":
            if self.process is None:
                self.proxy.refuses = True
            else:
                self.process.kill()
        elif self.process is None:
            self.proxy.delay_s = _FOR_EVER_S
        else:
            self.process.signal(signal.SIGSTOP)

    def mend(self, fault: str) -> None:
        """Ends the fault."""
        self.proxy.delay_s, self.proxy.refuses = 0.0, False
        if self.process is not None and fault == "killed":
            self.process.start()
        elif self.process is not None and fault == "stopped":
            self.process.signal(signal.SIGCONT)


@contextmanager
def qdrant() -> Iterator[Qdrant]:
    """The server that there is, running."""
    url, port = urlsplit(os.environ.get("QDRANT_URL", "")), free_port()
    if url.hostname:
        with slow_proxy(url.port or 6333, url.hostname) as proxy:
            yield Qdrant(f"the server at {url.hostname}", proxy, None)
        return
    with tempfile.TemporaryDirectory(prefix="asahi-qdrant-") as folder, slow_proxy(port) as proxy:
        process = _process(Path(folder), port)
        process.start()
        try:
            yield Qdrant(process.command[0] if os.environ.get("QDRANT_BIN") else "a stand-in", proxy, process)
        finally:
            process.kill()


def _process(folder: Path, port: int) -> QdrantProcess:
    binary = os.environ.get("QDRANT_BIN")
    if not binary:
        return QdrantProcess((sys.executable, "-m", "services.cache.tests.qdrant_stand_in", str(port)), port)
    environment = {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(port),
        "QDRANT__SERVICE__GRPC_PORT": str(free_port()),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    return QdrantProcess((binary,), port, environment)
