"""`python -m bench.flames FOLDER`: a flame graph for each process, drawn from a sampled window of one kind of request.

A box is a function, as wide as the CPU time in it with all that it calls; what it was called by is below it. What takes
less than four thousandths is left out. The page shows the numbers where the mouse is.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from bench.breakdown import Breakdown, breakdowns, layer_of
from bench.machine import conditions, load_average
from bench.sampler import Step
from bench.suite import SCENARIOS, Extent

_WANTED = (
    ("edge", "hit at the edge"),
    ("edge", "miss, a budget blocks"),
    ("router", "miss, a budget blocks"),
    ("cache", "miss, a budget blocks"),
    ("billing", "miss, a budget blocks"),
    ("auth", "miss, a budget blocks"),
)
_LEAST = 0.004
_WIDTH, _ROW, _LETTER = 1200, 15, 6.2
_BELOW = ("asahi_core.process", "run_service")
"""What stands below it is the same everywhere: starting Python, and the loop."""
_COLORS = {
    "Asahi's domain": "#f0a35e",
    "Asahi's transport: api, clients, providers": "#f2c572",
    "Asahi's stores": "#e58b6d",
    "Asahi's shared core": "#f6dd8d",
    "event loop, and gRPC below Python": "#b9c7d6",
    "gRPC": "#9fb6cf",
    "protobuf": "#a9cfc0",
    "uvicorn": "#c3d9a0",
    "aiohttp": "#c3d9a0",
}
_OTHER_COLOR = "#dddddd"


@dataclass
class Box:
    """A function in one place of the stacks."""

    step: Step
    us: float = 0.0
    above: dict[Step, "Box"] = field(default_factory=dict)

    def add(self, us: float, stack: Sequence[Step]) -> None:
        """Adds a stack that goes on so above it."""
        self.us += us
        if stack:
            self.above.setdefault(stack[0], Box(stack[0])).add(us, stack[1:])

    def depth(self, least_us: float) -> int:
        """Rows of it and what is above it."""
        return 1 + max((one.depth(least_us) for one in self.above.values() if one.us >= least_us), default=0)


def flames(one: Breakdown) -> str:
    """The graph as SVG."""
    root = Box(("", f"{one.process}: {one.scenario.name}"))
    for us, stack in one.stacks:
        root.add(us, _above_the_loop(stack))
    least_us = root.us * _LEAST
    height = (root.depth(least_us) + 1) * _ROW + 4
    boxes = _boxes(root, 0.0, height - _ROW - 2, _WIDTH / max(root.us, 1e-9), least_us)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="monospace" '
            'font-size="10">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            *boxes,
            "</svg>",
            "",
        ]
    )


def _above_the_loop(stack: Sequence[Step]) -> Sequence[Step]:
    steps = [tuple(step) for step in stack]
    return stack[steps.index(_BELOW) + 1 :] if _BELOW in steps else stack


def _boxes(box: Box, left: float, top: float, scale: float, least_us: float) -> Iterator[str]:
    module, name = box.step
    width = box.us * scale
    words = f"{name}, {box.us:.0f} µs" if width > 200 else name.rpartition(".")[2]
    color = _COLORS.get(layer_of(module) or "", _OTHER_COLOR)
    yield (
        f"<g><title>{escape(f'{module}.{name}'.lstrip('.'))}: {box.us:.1f} µs a request</title>"
        f'<rect x="{left:.1f}" y="{top:.0f}" width="{max(0.3, width - 0.4):.1f}" height="{_ROW - 1}" fill="{color}"/>'
    )
    if room := int((width - 4) / _LETTER):
        yield f'<text x="{left + 2:.1f}" y="{top + 10:.0f}">{escape(words[:room])}</text>'
    yield "</g>"
    for one in sorted(box.above.values(), key=lambda one: -one.us):
        if one.us >= least_us:
            yield from _boxes(one, left, top - _ROW, scale, least_us)
            left += one.us * scale


def main() -> None:
    """Sample and draw."""
    parser = argparse.ArgumentParser(prog="python -m bench.flames", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the graphs are written")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a sampled window; default 8")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(conditions("python -m bench.flames", load_average()))
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    wanted = [(process, scenarios[name]) for process, name in _WANTED]
    with tempfile.TemporaryDirectory(prefix="asahi-flames-") as folder:
        for one in breakdowns(Path(folder), Extent(profile_seconds=options.seconds), wanted):
            kind = "hit" if one.scenario.hit else "miss"
            path = options.folder / f"{one.process}-{kind}.svg"
            path.write_text(flames(one))
            print(f"{path}: {one.main_us + one.others_us:.0f} µs a request")


if __name__ == "__main__":
    main()
