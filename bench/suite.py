"""What is measured: every scenario on one real installation, with the provider simulator as the provider."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.load import CpuClocks, Load, Taken
from tests.installation import Installation, Organization, plan_installation
from tests.simulator import SimulatorControl

REPOSITORY = Path(__file__).parents[1]
MODEL = "gpt-6-luna"
ANSWER_TOKENS = 64
TOKENS_PER_SECOND = 50
STALL_US = 100_000.0
"""A silence that a reader notices."""
_HELD = "[held]"
_DISTINCT = 64
_TRIES = 3
_LOAD_WITHIN_S = 90
_TEXT = "Summarise the following text in one sentence, please. " * 18 + "It is @."
_CHAT = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "{_TEXT}"}}]}}'
_STREAMED = _CHAT.replace('"messages"', '"stream": true, "messages"')
_SHORT = '{"prompt": "What became of number @?"}'
_INFER = f'{{"prompt": "{_TEXT}"}}'


@dataclass(frozen=True, slots=True)
class Extent:
    """How long to measure."""

    seconds: float = 3.2
    """Length of each window."""
    warm_seconds: float = 0.8
    streams: tuple[int, ...] = (16, 32, 64, 96, 128, 192, 256)
    """Numbers of streams to try to hold, until one does not go."""
    profile_seconds: float = 5.0
    """Length of each sampled window; 0: no breakdown."""


QUICK = Extent(seconds=0.3, warm_seconds=0.1, streams=(4,), profile_seconds=0.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request, by the way it takes."""

    name: str
    body: str
    path: str = "/v1/chat/completions"
    server: str = "edge"
    hit: bool = False
    streamed: bool = False
    budgeted: bool = False
    """Asked by an organisation with a budget that blocks: every provider call waits for a hold."""


DIRECT = Scenario("provider alone", _CHAT, server="simulator")
DIRECT_STREAMED = Scenario("provider alone, streamed", _STREAMED, server="simulator", streamed=True)
SCENARIOS = (
    Scenario("hit at the edge", _CHAT, hit=True),
    Scenario("hit at the edge, `/infer`", _INFER, path="/infer", hit=True),
    Scenario("hit in the cache service", _CHAT, server="edge2", hit=True),
    Scenario("miss", _CHAT),
    Scenario("miss, a budget blocks", _CHAT, budgeted=True),
    Scenario("miss, `/infer`, model chosen", _INFER, path="/infer"),
    Scenario("miss, `/infer`, similar questions looked for", _SHORT, path="/infer"),
    Scenario("miss, streamed", _STREAMED, streamed=True),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """A scenario one request at a time and sixteen."""

    scenario: Scenario
    alone: Taken
    busy: Taken


@dataclass(frozen=True, slots=True)
class Held:
    """So many streams at a reader's pace, at once."""

    streams: int
    taken: Taken
    tries: int = 1
    """A try in which a stream fell silent is repeated: on a shared machine others' work may have been the cause."""

    @property
    def stalled(self) -> int:
        """Streams that fell silent for too long."""
        return sum(gap > STALL_US for gap in self.taken.gaps_us)


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured on one installation."""

    direct: Figures
    direct_streamed: Figures
    figures: Sequence[Figures]
    held: Sequence[Held]
    held_direct: Held
    """As many as were tried last, straight from the simulator: whether it and the load could."""
    idle_share: Mapping[str, float]
    """CPU that each process takes while nobody asks, as a share of a core."""


@contextmanager
def bench_installation(
    data: Path,
    modules: Mapping[str, str] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[Installation]:
    """Five services, a second edge without near cache (`edge2`), the simulator; `modules` run in others' place.

    `environment` adds variables by process name.
    """
    shared = {"ASAHI_LOG_LEVEL": "info", "PYTHONPATH": str(REPOSITORY)}
    variables: dict[str, dict[str, str]] = {
        name: shared | dict((environment or {}).get(name, {}))
        for name in ("auth", "cache", "router", "billing", "edge", "simulator")
    }
    variables["simulator"]["ASAHI_SIMULATOR_ANSWER_TOKENS"] = str(ANSWER_TOKENS)
    variables["edge2"] = {"ASAHI_NEAR_CACHE_BYTES": "0", "ASAHI_DATA_DIR": str(data / "edge2")}
    installation = plan_installation(data, edges=2, simulator=True, environment=variables)
    for name, module in (modules or {}).items():
        installation[name].environment["BENCH_SAMPLED_MODULE"] = installation[name].module
        installation[name].environment["BENCH_SAMPLES"] = str(data / f"{name}.samples")
        installation[name].module = module
    try:
        installation.start()
        yield installation
    finally:
        installation.stop()


def measure(data: Path, extent: Extent) -> Results:
    """Runs all scenarios, one after the other, with the installation's data under `data`."""
    with bench_installation(data) as installation:
        rig = Rig(installation, extent)
        idle = rig.idle()
        direct, direct_streamed = rig.figures(DIRECT), rig.figures(DIRECT_STREAMED)
        figures = [rig.figures(scenario) for scenario in SCENARIOS]
        held: list[Held] = []
        for streams in extent.streams:
            held.append(_held_in_some_try(rig, streams))
            if held[-1].stalled:
                break
        return Results(direct, direct_streamed, figures, held, rig.held("simulator", held[-1].streams), idle)


def _held_in_some_try(rig: "Rig", streams: int) -> Held:
    for number in range(1, _TRIES + 1):
        held = replace(rig.held("edge", streams), tries=number)
        if not held.stalled:
            break
    return held


class Rig:
    """Loads on an installation."""

    def __init__(self, installation: Installation, extent: Extent) -> None:
        self._installation = installation
        self._organization, self._budgeted = installation.signup("Bench"), installation.signup("Budgeted")
        set_budget(self._budgeted)
        self._extent = extent
        self._salts = 0
        self._pids = {name: one.pid for name, one in installation.processes.items() if name != "simulator"}

    def figures(self, scenario: Scenario) -> Figures:
        """One at a time, then sixteen."""
        return Figures(scenario, self.load(scenario, 1), self.load(scenario, 16))

    def load(
        self,
        scenario: Scenario,
        concurrency: int,
        headers: Mapping[str, str] | None = None,
        authorizations: Sequence[str] | None = None,
    ) -> Taken:
        """One window of a scenario, with these headers besides, by these keys in turn."""
        load = self._load(scenario, concurrency)
        more = {"headers": dict(headers or {}), "authorizations": list(authorizations or ())}
        return run_load(msgspec.structs.replace(load, **more))

    def paced(self, scenario: Scenario, concurrency: int, per_second: float) -> Taken:
        """One window of a scenario, so many questions a second."""
        return run_load(msgspec.structs.replace(self._load(scenario, concurrency), per_second=per_second))

    def sampled(self, scenario: Scenario, processes: Sequence[str]) -> Taken:
        """One window of a scenario, sixteen at a time, while `processes` are sampled."""
        load = self._load(scenario, 16)
        pids = [self._pids[name] for name in processes]
        return run_load(msgspec.structs.replace(load, sampled=pids, seconds=self._extent.profile_seconds))

    def held(self, server: str, streams: int) -> Held:
        """Opens so many streams of a reader's pace and watches them."""
        seconds = max(1.0, self._extent.seconds)
        warm_s = max(0.5, self._extent.warm_seconds)
        tokens = int((seconds + warm_s + 0.5) * TOKENS_PER_SECOND)
        simulator = SimulatorControl(self._installation.url_of("simulator"))
        pace = {"tokens_per_second": TOKENS_PER_SECOND, "answer_tokens": tokens}
        simulator.rules({"mode": "slow", "match": {"contains": _HELD}, "params": pace})
        scenario = replace(DIRECT_STREAMED, server=server, body=_STREAMED.replace("@", f"{_HELD} @"))
        load = self._load(scenario, streams)
        load = msgspec.structs.replace(load, held=True, seconds=seconds, warm_seconds=warm_s)
        try:
            return Held(streams, run_load(load))
        finally:
            simulator.rules()

    def idle(self) -> dict[str, float]:
        """What the processes do by themselves."""
        clocks = CpuClocks(self._pids)
        before = clocks.read()
        time.sleep(self._extent.seconds)
        return {name: (us - before[name]) / 1e6 / self._extent.seconds for name, us in clocks.read().items()}

    def _load(self, scenario: Scenario, concurrency: int) -> Load:
        self._salts += 1
        return Load(
            port=self._installation[scenario.server].http_port,
            path=scenario.path,
            body=scenario.body,
            authorization=(self._budgeted if scenario.budgeted else self._organization).headers["authorization"],
            concurrency=concurrency,
            seconds=self._extent.seconds,
            warm_seconds=self._extent.warm_seconds,
            distinct=_DISTINCT if scenario.hit else 0,
            salt=str(self._salts),
            processes=self._pids,
        )


def set_budget(organization: Organization) -> None:
    """Gives it a budget that blocks and is never spent."""
    budget = {"per": "organization", "window": "month", "limit_usd": 100_000, "action": "block"}
    with organization.client() as client:
        client.post(f"/governance/policies/{organization.id}", json={"budgets": [budget]}).raise_for_status()


def run_load(load: Load) -> Taken:
    """Runs the load generator as a process of its own.

    Raises:
        subprocess.CalledProcessError: an answer was not 200; it has said so on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        check=True,
        timeout=_LOAD_WITHIN_S,
    )
    return msgspec.json.decode(done.stdout, type=Taken)
