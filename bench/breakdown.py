"""Where the CPU time of a request goes inside a process, by layer and by function, from what bench.sampler saw."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.sampler import Samples, Step
from bench.suite import Extent, Rig, Scenario, bench_installation

Key = TypeVar("Key")
_SAMPLER = "bench.sampler"
_WRITTEN_WITHIN_S = 10.0

_OWN_LAYERS = {
    "domain": "Asahi's domain",
    "api": "Asahi's transport: api, clients, providers",
    "clients": "Asahi's transport: api, clients, providers",
    "providers": "Asahi's transport: api, clients, providers",
    "stores": "Asahi's stores",
}
_CORE_LAYER = "Asahi's shared core"
_LIBRARY_LAYERS = {
    "grpc": "gRPC",
    "grpc_health": "gRPC",
    "google": "protobuf",
    "asahi": "protobuf",
    "fastapi": "FastAPI and Starlette",
    "starlette": "FastAPI and Starlette",
    "uvicorn": "uvicorn",
    "aiohttp": "aiohttp",
    "yarl": "aiohttp",
    "multidict": "aiohttp",
    "structlog": "logging",
    "logging": "logging",
    "prometheus_client": "metrics and traces",
    "opentelemetry": "metrics and traces",
    "asyncio": "event loop, and gRPC below Python",
    "uvloop": "event loop, and gRPC below Python",
}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where one process spends its time on one kind of request, in microseconds a request."""

    process: str
    scenario: Scenario
    requests: int
    main_us: float
    others_us: float
    layers: Sequence[tuple[str, float]]
    """Time of the main thread by the innermost layer at work."""
    functions: Sequence[tuple[Step, float]]
    """Time in Asahi's functions, with all that they call."""
    stacks: Sequence[tuple[float, Sequence[Step]]]
    """Microseconds a request by what a thread was about, outermost first: the flames."""


def breakdowns(data: Path, extent: Extent, wanted: Sequence[tuple[str, Scenario]]) -> list[Breakdown]:
    """One breakdown for each process and scenario, on an installation of its own."""
    found: list[Breakdown] = []
    modules = dict.fromkeys([process for process, _ in wanted], _SAMPLER)
    with bench_installation(data, modules) as installation:
        rig = Rig(installation, extent)
        for scenario in dict.fromkeys(scenario for _, scenario in wanted):
            processes = [process for process, wanted_scenario in wanted if wanted_scenario is scenario]
            taken = rig.sampled(scenario, processes)
            found += [
                _breakdown(process, scenario, _samples(data / f"{process}.samples"), taken.requests)
                for process in processes
            ]
    return found


def _samples(path: Path) -> Samples:
    deadline = time.monotonic() + _WRITTEN_WITHIN_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} was not written"
        time.sleep(0.02)
    samples = msgspec.json.decode(path.read_bytes(), type=Samples)
    path.unlink()
    return samples


def _breakdown(process: str, scenario: Scenario, samples: Samples, requests: int) -> Breakdown:
    layers: defaultdict[str, float] = defaultdict(float)
    functions: defaultdict[Step, float] = defaultdict(float)
    sampled_s = sum(seconds for seconds, _ in samples.stacks)
    scale = samples.main_s / sampled_s * 1e6 / requests if sampled_s else 0.0
    for seconds, stack in samples.stacks:
        layers[_layer(stack)] += seconds * scale
        for step in {step for step in stack if _is_ours(step[0])}:
            functions[step] += seconds * scale
    return Breakdown(
        process=process,
        scenario=scenario,
        requests=requests,
        main_us=samples.main_s * 1e6 / requests,
        others_us=samples.others_s * 1e6 / requests,
        layers=_most_first(layers),
        functions=_most_first(functions),
        stacks=_flames(samples, scale, requests),
    )


def _flames(samples: Samples, scale: float, requests: int) -> list[tuple[float, Sequence[Step]]]:
    """All threads' stacks; what no Python thread used is that of gRPC's own."""
    main = [(seconds * scale, stack) for seconds, stack in samples.stacks]
    others = [(seconds * 1e6 / requests, stack) for seconds, stack in samples.other_stacks]
    native_us = samples.others_s * 1e6 / requests - sum(us for us, _ in others)
    return [*main, *others, (max(0.0, native_us), [("thread", "below Python: gRPC, SQLite")])]


def _most_first(shares: Mapping[Key, float]) -> list[tuple[Key, float]]:
    return sorted(shares.items(), key=lambda share: -share[1])


def _layer(stack: Sequence[Step]) -> str:
    return next(filter(None, (layer_of(module) for module, _ in reversed(stack))), "the rest")


def layer_of(module: str) -> str | None:
    """The layer that a module is of; None: none of its own."""
    package, *rooms = module.split(".")
    if package == "asahi_core":
        return _CORE_LAYER
    if _is_ours(module):
        return _OWN_LAYERS.get(rooms[0]) if rooms else None
    return _LIBRARY_LAYERS.get(package)


def _is_ours(module: str) -> bool:
    return module.startswith("asahi_")
