"""The gateways that are compared, each started on one core, all in front of the same provider on the other."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from bench.peers.install import LITELLM, PORTKEY, litellm, portkey
from tests.installation import Installation, Process, free_port, running_installation

MODEL = "gpt-6-luna"
GATEWAY_CORE, OTHER_CORE = 0, 1
_READY_WITHIN_S = 300.0
_KEY = "sk-bench-0123456789"
_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "{provider}/v1", api_key: sk-of-the-simulator}}
general_settings: {{master_key: {key}}}
litellm_settings: {{cache: true, cache_params: {{type: local}}, telemetry: false}}
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs."""

    name: str
    port: int
    authorization: str
    pids: tuple[int, ...]
    """Its processes; their children are theirs."""
    caches: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    chooses: str = ""
    """Authorization of who leaves the choice of model to it and has similar questions looked for; empty: it cannot."""

    def processes(self) -> dict[str, int]:
        """The whole tree, by pid."""
        found: dict[str, int] = {}
        for pid in self.pids:
            own = psutil.Process(pid)
            found |= {str(one.pid): one.pid for one in (own, *own.children(recursive=True))}
        return found

    def memory_mib(self) -> float:
        """What the tree has in memory; shared pages are counted once for each process that has them."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.processes().values()) / 2**20


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started within runs on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def provider(folder: Path, answer_tokens: int) -> Iterator[str]:
    """The simulator on the other core; its base URL."""
    port = free_port()
    environment = {
        **os.environ,
        "ASAHI_SIMULATOR_ADDRESS": f"127.0.0.1:{port}",
        "ASAHI_SIMULATOR_SPEED": "0",
        "ASAHI_SIMULATOR_ANSWER_TOKENS": str(answer_tokens),
        "ASAHI_LOG_LEVEL": "warning",
    }
    process = Process("simulator", "asahi_simulator", environment, folder / "simulator.log", http_port=port)
    with on_core(OTHER_CORE):
        process.start()
    try:
        process.wait_ready()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


@contextmanager
def asahi(folder: Path, provider_url: str) -> Iterator[Gateway]:
    """All five services on one core: keys, limits, a budget that blocks, cache, billing, metrics, traces at 1 %."""
    environment = {name: {"ASAHI_LOG_LEVEL": "info", "ASAHI_TRACE_RATIO": "0.01"} for name in _SERVICES}
    environment["router"]["ASAHI_SIMULATOR_URL"] = provider_url
    with on_core(GATEWAY_CORE), running_installation(folder, simulator=False, environment=environment) as running:
        exact, similar = (_customer(running, tiers) for tiers in ([1], [1, 2]))
        pids = tuple(process.pid for process in running.processes.values())
        yield Gateway("Asahi", running["edge"].http_port, exact, pids, chooses=similar)


def _customer(running: Installation, tiers: list[int]) -> str:
    """A new organisation's authorization: with limits, a budget that blocks, and these tiers of the cache."""
    organization = running.signup("Bench")
    policy = {
        "budgets": [{"per": "organization", "window": "month", "limit_usd": 100_000, "action": "block"}],
        "rate_limits": {"requests_per_minute": 100_000_000, "tokens_per_minute": 100_000_000_000},
        "cache": {"tiers": tiers},
    }
    with organization.client() as client:
        client.post(f"/governance/policies/{organization.id}", json=policy).raise_for_status()
    return organization.headers["authorization"]


@contextmanager
def litellm_proxy(folder: Path, provider_url: str) -> Iterator[Gateway]:
    """LiteLLM's proxy with a key and its cache in memory; no database, budgets or usage."""
    port, config = free_port(), folder / "litellm.yaml"
    config.write_text(_LITELLM.format(model=MODEL, provider=provider_url, key=_KEY))
    command: list[str | Path] = [
        litellm(),
        "--config",
        config,
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--telemetry",
        "False",
    ]
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with _started(command, folder / "litellm.log", port, "/health/liveliness", local) as pid:
        yield Gateway(f"LiteLLM {LITELLM}", port, f"Bearer {_KEY}", (pid,))


@contextmanager
def portkey_gateway(folder: Path, provider_url: str) -> Iterator[Gateway]:
    """Portkey's open gateway; no keys, cache, budgets or usage."""
    port = free_port()
    command: list[str | Path] = ["node", portkey(), f"--port={port}", "--headless"]
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{provider_url}/v1"}
    with _started(command, folder / "portkey.log", port, "/", {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}) as pid:
        yield Gateway(f"Portkey {PORTKEY}", port, f"Bearer {_KEY}", (pid,), caches=False, headers=headers)


GATEWAYS: Mapping[str, Callable[[Path, str], AbstractContextManager[Gateway]]] = {
    "asahi": asahi,
    "litellm": litellm_proxy,
    "portkey": portkey_gateway,
}
_SERVICES = ("auth", "cache", "router", "billing", "edge")


@contextmanager
def _started(
    command: list[str | Path], log: Path, port: int, path: str, environment: Mapping[str, str]
) -> Iterator[int]:
    with on_core(GATEWAY_CORE), log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent
        )
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _answers(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=2.0).status_code < 500
    except httpx2.TransportError:
        return False
