"""An installation that can be broken: two edges, five services, their stores, and a proxy in every connection."""

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

from tests.faults import started
from tests.faults.links import Link
from tests.faults.schedule import BEHIND, EDGES, LINKS, SERVER_LINKS, Fault, Schedule, provider_rule
from tests.installation import Installation, Process, plan_installation
from tests.ledger import call_records
from tests.postgresql import PostgreSQL
from tests.redis_server import RedisServer, redis_server
from tests.simulator import SimulatorControl

PACE = {"mode": "slow", "params": {"first_token_ms": 40, "tokens_per_second": 600}}
"""How the provider answers while nothing is wrong with it."""
ORPHANS_AFTER_S = 4
_ENVIRONMENT = {
    "simulator": {"ASAHI_SIMULATOR_DETERMINISTIC": "false"},
    "edge": {"ASAHI_ORPHAN_SETTLE_SECONDS": str(ORPHANS_AFTER_S)},
    "auth": {"ASAHI_AUDIT_KEY": "audit-key-of-the-fault-machine-000"},
    "router": {"ASAHI_RETRIES": "1"},
}
_GRACE_S = 5
_STARTS, _START_AGAIN_S = 20, 0.5
"""A process that ends at its start is started again, as it is everywhere that processes are watched."""


@dataclass(slots=True)
class Machine:
    """Breaks and mends. Faults of one process wait for each other."""

    installation: Installation
    control: SimulatorControl
    links: dict[str, Link]
    redis: RedisServer
    postgresql: PostgreSQL | None
    database: str
    """Billing's; empty: SQLite."""
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def break_and_mend(self, fault: Fault) -> None:
        """One fault from its beginning to its end."""
        lock = self._locks.setdefault(fault.target, asyncio.Lock())
        async with lock:
            match fault.kind:
                case "kill" | "roll out":
                    await self._restart(self.installation[fault.target], fault)
                case "freeze":
                    self.installation[fault.target].signal(SIGSTOP)
                    await asyncio.sleep(fault.for_s)
                    self.installation[fault.target].signal(SIGCONT)
                case "slow" | "cut" | "silent":
                    await self._disturb(self.links[fault.target], fault)
                case "full disk":
                    await self._fill_disk(self.installation[fault.target], fault.for_s)
                case "clock":
                    await self._move_clock(fault.target, fault)
                case "provider":
                    await asyncio.to_thread(self.control.rules, provider_rule(fault), PACE)
                    await asyncio.sleep(fault.for_s)
                    await asyncio.to_thread(self.control.rules, PACE)
                case "redis":
                    self.redis.stop()
                    await asyncio.sleep(fault.for_s)
                    await asyncio.to_thread(self.redis.start)
                case "postgresql":
                    await self._stop_postgresql(fault.for_s)

    async def records(self, organization_ids: set[str]) -> list[dict[str, Any]]:
        """The ledger's records of provider calls; none while it cannot be read."""
        try:
            rows = await asyncio.to_thread(call_records, self.installation.data, "", self.database)
        except sqlite3.OperationalError:
            return []
        return [row for row in rows if row["organization_id"] in organization_ids]

    def let_leases_end(self) -> None:
        """Moves billing's clock over the end of every hold that nobody renews."""
        started.move_clock(self._clock_of("billing"), 120.0)

    def _clock_of(self, name: str) -> Path:
        return self.installation.data / f"{name}.clock"

    async def _restart(self, process: Process, fault: Fault) -> None:
        await asyncio.to_thread(process.kill if fault.kind == "kill" else process.stop)
        await asyncio.sleep(fault.for_s)
        for _ in range(_STARTS):
            process.start()
            try:
                return await asyncio.to_thread(process.wait_ready)
            except AssertionError:
                if process.running:
                    raise
            await asyncio.sleep(_START_AGAIN_S)  # it refuses to start while its database is away
        raise AssertionError(f"{process.name} does not start any more:\n{process.tail()}")

    async def _disturb(self, link: Link, fault: Fault) -> None:
        match fault.kind:
            case "slow":
                link.slow(fault.amount)
            case "cut":
                link.cut()
            case _:
                link.silence()
        await asyncio.sleep(fault.for_s)
        link.mend()

    async def _fill_disk(self, process: Process, for_s: float) -> None:
        """No file of the process grows any more: every write to one fails, as on a disk that is full."""
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, most))
        await asyncio.sleep(for_s)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))

    async def _move_clock(self, name: str, fault: Fault) -> None:
        started.move_clock(self._clock_of(name), fault.amount)
        await asyncio.sleep(fault.for_s)
        started.move_clock(self._clock_of(name), 0.0)

    async def _stop_postgresql(self, for_s: float) -> None:
        assert self.postgresql is not None
        await asyncio.to_thread(self.postgresql.stop)
        await asyncio.sleep(for_s)
        await asyncio.to_thread(self.postgresql.start)


@asynccontextmanager
async def running_machine(
    data: Path, schedule: Schedule, postgresql: PostgreSQL, without: str = ""
) -> AsyncIterator[Machine]:
    """A machine with its data under `data`; `without` names a safeguard that its processes lack."""
    environment = {**_ENVIRONMENT, "cache": {"ASAHI_EMBEDDING_THREADS": "1" if schedule.semantic else "0"}}
    installation = plan_installation(data, edges=len(EDGES), simulator=True, environment=environment)
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server())
        ports = {name: installation[name].grpc_port for name in BEHIND}
        ports |= {"provider": installation["simulator"].http_port, "redis": redis.port, "postgresql": postgresql.port}
        links = {}
        for name in (*LINKS, *(SERVER_LINKS if schedule.servers else ())):
            links[name] = Link(ports[name.partition(">")[2]])
            await links[name].open()
            stack.push_async_callback(links[name].close)
        database = ""
        for name, link in links.items():
            caller, _, called = name.partition(">")
            variables = installation[caller].environment
            match called:
                case "redis":
                    variables["REDIS_URL"] = f"redis://127.0.0.1:{link.port}/0"
                case "provider":
                    variables["ASAHI_SIMULATOR_URL"] = f"http://127.0.0.1:{link.port}"
                case "postgresql":
                    url = await asyncio.to_thread(postgresql.create_database, f"{caller}_{os.urandom(4).hex()}")
                    variables["DATABASE_URL"] = url.replace(f":{postgresql.port}/", f":{link.port}/")
                    database = url if caller == "billing" else database
                case _:
                    variables[f"ASAHI_{called.upper()}_TARGET"] = f"127.0.0.1:{link.port}"
        for name in (*EDGES, *BEHIND):
            _make_breakable(installation[name], data / f"{name}.clock", without)
        try:
            await asyncio.to_thread(installation.start)
            control = SimulatorControl(installation.url_of("simulator"))
            await asyncio.to_thread(control.rules, PACE)
            yield Machine(installation, control, links, redis, postgresql if schedule.servers else None, database)
        finally:
            await asyncio.to_thread(_stop_all, installation)


def _stop_all(installation: Installation) -> None:
    """At once: what was to be seen has been seen."""
    for process in installation.processes.values():
        if process.running:
            with suppress(ProcessLookupError):
                process.kill()


def _make_breakable(process: Process, clock: Path, without: str) -> None:
    """Starts it with a clock of the rig's, and without the safeguard if that is its service's."""
    started.move_clock(clock, 0.0)
    process.environment |= {started.MODULE: process.module, started.CLOCK: str(clock)}
    process.environment["ASAHI_SHUTDOWN_GRACE_SECONDS"] = str(_GRACE_S)
    if without and process.module == f"asahi_{started.SAFEGUARDS[without][0]}":
        process.environment[started.WITHOUT] = without
    process.module = "tests.faults.started"
