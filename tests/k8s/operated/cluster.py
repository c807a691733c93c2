"""A cluster for kubectl and helm: the API server, the machine behind it, stores outside, and a shell to type into."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from deploy.k8s.generate import WITH_DATABASE
from tests.documents import ROOT
from tests.installation import Process, free_port
from tests.k8s.operated.machine import Machine
from tests.k8s.operated.objects import Objects
from tests.k8s.operated.pages import Commands
from tests.k8s.operated.server import Api, serving
from tests.k8s.processes import Here
from tests.k8s.rendering import TOOLS
from tests.postgresql import PostgreSQL, postgresql
from tests.redis_server import redis_server

_LONGEST_S = 1200.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
_HTTP = 8000
_KUBECTL = """\
#!/usr/bin/env bash
# kubectl, but for what needs a kubelet's streams: those two are done here in its place.
for word in "$@"; do
    case $word in
        port-forward) exit 0 ;;  # callers are sent to the edge's own address
        exec) exec {python} -m tests.k8s.operated.inside {pods} "$@" ;;
    esac
done
exec {kubectl} "$@"
"""
_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{url}"}}}}]
contexts: [{{name: here, context: {{cluster: here, user: here}}}}]
users: [{{name: here, user: {{}}}}]
current-context: here
"""


@dataclass(slots=True)
class Typed:
    """What a block of commands came to."""

    commands: Commands
    seconds: float
    code: int
    output: str


@dataclass(slots=True)
class Cluster:
    """What the commands of a page are typed into."""

    folder: Path
    here: Here
    database: PostgreSQL
    environment: dict[str, str]
    typed: list[Typed] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    """Of the shell, kept from block to block."""

    @property
    def edge(self) -> str:
        """host:port of the edge's HTTP."""
        return self.here.address("edge", _HTTP)

    def lose_databases(self) -> None:
        """Puts empty ones in their place."""
        with psycopg.connect(self.database.url(), autocommit=True) as connection:
            for name in WITH_DATABASE:
                connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
                self.database.create_database(name)

    async def type(self, commands: Commands, *, text: str = "") -> Typed:
        """Types a block, or `text` in its place, in the shell that the blocks before were typed into."""
        script = (text or commands.text).replace("127.0.0.1:8000", self.edge)
        script = script.replace("https://YOUR-EDGE", f"http://{self.edge}")
        kept = self.folder / "variables"
        whole = f"set -eu\n{self._assignments()}\n{script}\ndeclare -p > {shlex.quote(str(kept))}\n"
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", whole, cwd=self.folder / "clone", env=self.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), _LONGEST_S)
        if kept.exists():
            self._keep(kept.read_text())
        done = Typed(commands, time.monotonic() - begun, process.returncode or 0, output.decode(errors="replace"))
        self.typed.append(done)
        return done

    def _assignments(self) -> str:
        return "\n".join(f"{name}={value}" for name, value in self.variables.items())

    def _keep(self, declared: str) -> None:
        for line in declared.splitlines():
            if line.startswith("declare -- ") and "=" in line:
                name, _, value = line.removeprefix("declare -- ").partition("=")
                if name.islower() or name == "KEY":
                    self.variables[name] = value


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """An empty cluster, with a PostgreSQL, a Redis and a provider outside of it; nothing is left."""
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgresql())
        redis = stack.enter_context(redis_server())
        provider = _provider(folder)
        stack.callback(provider.stop)
        outside = {"router": {"OPENAI_BASE_URL": f"http://127.0.0.1:{provider.http_port}/v1"}}
        here = Here(folder / "pods", {}, extra=outside)
        objects = Objects()
        machine = Machine(objects, here)
        url = await stack.enter_async_context(serving(Api(objects, machine)))
        running = asyncio.create_task(machine.run())
        stack.push_async_callback(machine.close)
        stack.callback(running.cancel)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {f"{name.upper()}_DATABASE": database.create_database(name) for name in WITH_DATABASE}
        environment |= {"REDIS_URL": redis.url, "OPENAI_API_KEY": "sk-simulated", "KUBECONFIG": str(folder / "config")}
        environment |= {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
        (folder / "config").write_text(_KUBECONFIG.format(url=url))
        environment["PATH"] = f"{_programs(folder, database)}:{environment['PATH']}"
        _clone(folder / "clone")
        yield Cluster(folder, here, database, environment)
        if running.done():
            running.result()


def report(typed: Sequence[Typed]) -> None:
    """Prints a row for each block."""
    for one in typed:
        first = one.commands.text.splitlines()[0].strip()
        print(f"| {one.commands.place} | `{first[:60]}` | {one.seconds:.0f} s | {'FAILS' if one.code else 'ok'} |")
    sys.stdout.flush()


def _programs(folder: Path, database: PostgreSQL) -> Path:
    """helm, kubectl, and PostgreSQL's tools of the server's version."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(TOOLS / "helm")
    for name in ("pg_dump", "pg_restore"):
        (programs / name).symlink_to(database.binaries / name)
    kubectl = programs / "kubectl"
    kubectl.write_text(_KUBECTL.format(python=sys.executable, pods=folder / "pods", kubectl=TOOLS / "kubectl"))
    kubectl.chmod(0o755)
    return programs


def _clone(clone: Path) -> None:
    """A folder that looks like a clone, made of links; what commands write stays in it."""
    clone.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".dist", ".asahi"):
            (clone / entry.name).symlink_to(entry)


def _provider(folder: Path) -> Process:
    port = free_port()
    environment = {"ASAHI_SIMULATOR_ADDRESS": f"127.0.0.1:{port}", "ASAHI_SIMULATOR_SPEED": "0"}
    process = Process("simulator", "asahi_simulator", environment, folder / "simulator.log", port)
    process.start()
    process.wait_ready()
    return process
