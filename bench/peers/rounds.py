"""What is measured of a gateway, round by round, and what the rounds say together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.load import Load, Taken
from bench.peers.gateways import MODEL, OTHER_CORE, Gateway, on_core
from bench.report import quantile
from bench.suite import run_load

_TEXT = "Summarise the following text in one sentence, please. " * 18 + "It is @."
_CHAT = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "{_TEXT}"}}]}}'
_PATH = "/v1/chat/completions"
_DISTINCT = 64
_BUSY = 16


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a gateway, over all rounds."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """Its median."""
        return median(self.values)

    @property
    def spread(self) -> str:
        """Its least and its most."""
        return f"{min(self.values):.3g}–{max(self.values):.3g}"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long each window is, in seconds."""

    seconds: float = 8.0
    warm_seconds: float = 2.0


class Rounds:
    """Collects the figures of one gateway."""

    def __init__(self, gateway: Gateway, extent: Extent, direct: Callable[[], Taken]) -> None:
        """`direct` asks the provider itself, one at a time."""
        self._gateway = gateway
        self._extent = extent
        self._direct = direct

    def measure(self, salt: str) -> Iterator[tuple[str, str, float]]:
        """One round: name, unit and value of each figure."""
        yield "memory at rest", "MiB", self._gateway.memory_mib()
        alone, direct = self._ask(1, salt=f"{salt}a"), self._direct()
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            added = quantile(alone.latency_us, share) - quantile(direct.latency_us, share)
            yield f"miss, added {name}, one at a time", "ms", added / 1000
        busy = self._ask(_BUSY, salt=f"{salt}b")
        yield "miss, CPU", "ms", cpu_ms(busy)
        yield "miss, requests/s on one core, 16 at a time", "", busy.requests / busy.seconds
        if self._gateway.caches:
            hits = self._ask(_BUSY, salt=f"{salt}c", distinct=_DISTINCT)
            yield "hit, CPU", "ms", cpu_ms(hits)
            yield "hit, requests/s on one core, 16 at a time", "", hits.requests / hits.seconds

    def _ask(self, concurrency: int, *, salt: str, distinct: int = 0) -> Taken:
        gateway = self._gateway
        return ask(
            gateway.port,
            concurrency,
            self._extent,
            salt=salt,
            distinct=distinct,
            authorization=gateway.authorization,
            headers=dict(gateway.headers),
            processes=gateway.processes(),
        )


def ask(port: int, concurrency: int, extent: Extent, *, salt: str, **more: object) -> Taken:
    """One window of questions, asked from the other core."""
    with on_core(OTHER_CORE):
        return run_load(
            Load(
                **{
                    "port": port,
                    "path": _PATH,
                    "body": _CHAT,
                    "authorization": "Bearer sk-none",
                    "concurrency": concurrency,
                    "seconds": extent.seconds,
                    "warm_seconds": extent.warm_seconds,
                    "salt": salt,
                    **more,
                }  # type: ignore[arg-type]
            )
        )


def cpu_ms(taken: Taken) -> float:
    """CPU time of a request, over the whole tree of processes."""
    return sum(taken.cpu_us.values()) / max(1, taken.requests) / 1000


def told(figures: Sequence[tuple[str, dict[str, Figure]]]) -> Iterator[str]:
    """Rows of a table: each figure of each gateway with its spread, and how many times it is the first gateway's."""
    names = list(dict.fromkeys(name for _, found in figures for name in found))
    yield "| | " + " | ".join(gateway for gateway, _ in figures) + " |"
    yield "| --- |" + " --: |" * len(figures)
    ours = figures[0][1]
    for name in names:
        unit = next(found[name].unit for _, found in figures if name in found)
        cells = []
        for gateway, found in figures:
            if name not in found:
                cells.append("–")
                continue
            one = found[name]
            times = "" if gateway == figures[0][0] else f", × {one.middle / ours[name].middle:.2g}"
            cells.append(f"{one.middle:.3g} ({one.spread}{times})")
        yield f"| {name}{f', {unit}' if unit else ''} | " + " | ".join(cells) + " |"
