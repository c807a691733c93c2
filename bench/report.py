"""The figures as markdown tables and as JSON, and their place in a page of documentation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.breakdown import Breakdown
from bench.load import Taken
from bench.suite import ANSWER_TOKENS, TOKENS_PER_SECOND, Figures, Held, Results

PROCESSES = ("edge", "edge2", "auth", "cache", "router", "billing")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
AIMS_US = {"hit at the edge": 1000.0, "miss": 4000.0}
_FUNCTIONS = 18


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run."""

    conditions: str
    results: Results
    breakdowns: Sequence[Breakdown]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the `ordered` ones do not exceed; 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def cpu_per_request_us(taken: Taken) -> float:
    """CPU time of all processes of the installation."""
    return sum(taken.cpu_us.values()) / max(1, taken.requests)


def markdown(report: Report) -> str:
    """The whole as a section of a page."""
    parts = [
        [report.conditions],
        _cpu_table(report.results),
        _latency_table(report.results),
        _stream_table(report.results),
        _held_table(report.results),
        *map(_breakdown_tables, report.breakdowns),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def as_json(report: Report) -> dict[str, Any]:
    """The same for programs; times in microseconds."""
    results = report.results
    return {
        "conditions": report.conditions,
        "scenarios": {
            figures.scenario.name: {"c1": _taken_json(figures.alone), "c16": _taken_json(figures.busy)}
            for figures in (results.direct, results.direct_streamed, *results.figures)
        },
        "held_streams": [_held_json(held) for held in results.held],
        "held_streams_direct": _held_json(results.held_direct),
        "idle_share": dict(results.idle_share),
        "breakdowns": [
            {
                "process": one.process,
                "scenario": one.scenario.name,
                "main_us": one.main_us,
                "others_us": one.others_us,
                "layers": dict(one.layers),
                "functions": {".".join(step): us for step, us in one.functions},
            }
            for one in report.breakdowns
        ],
    }


def write_between_markers(page: Path, text: str) -> None:
    """Replaces what stands between the markers of a page.

    Raises:
        ValueError: the page has no such place.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no place for figures: it needs the lines {BEGIN} and {END}.")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def _cpu_table(results: Results) -> Iterator[str]:
    yield "### CPU time per request, µs, by process\n"
    yield "Sixteen requests at a time; the last column with one at a time. Without load generator and provider."
    yield ""
    yield _row("scenario", "edge", *PROCESSES[2:], "**all**", "aim", "all, one at a time")
    yield _rule(8)
    for figures in results.figures:
        taken, requests = figures.busy, max(1, figures.busy.requests)
        own = {name: taken.cpu_us[name] / requests for name in PROCESSES}
        aim = AIMS_US.get(figures.scenario.name)
        yield _row(
            figures.scenario.name,
            _us(own["edge"] + own["edge2"]),
            *(_us(own[name]) for name in PROCESSES[2:]),
            f"**{_us(cpu_per_request_us(taken))}**",
            f"≤ {_us(aim)}" if aim else "",
            _us(cpu_per_request_us(figures.alone)),
        )
    idle = sum(results.idle_share.values())
    yield f"\nAll six processes idle take {idle:.1%} of a core. CPU clocks tick in 10 ms."


def _latency_table(results: Results) -> Iterator[str]:
    yield "### Latency and throughput\n"
    yield "Added: over the same question straight to the provider. A hit asks no provider; its added time is all of it."
    yield ""
    yield _row("scenario", "p50 µs", "p99 µs", "added p50 µs", "added p99 µs", "per second, c=16", "p99 µs, c=16")
    yield _rule(6)
    yield _latency_row(results.direct, None)
    for figures in results.figures:
        if not figures.scenario.streamed:
            yield _latency_row(figures, None if figures.scenario.hit else results.direct)


def _latency_row(figures: Figures, base: Figures | None) -> str:
    alone, busy = figures.alone.latency_us, figures.busy
    added = [
        quantile(alone, share) - (quantile(base.alone.latency_us, share) if base else 0.0) for share in (0.5, 0.99)
    ]
    shown = ["", ""] if figures.scenario.server == "simulator" else [_us(one) for one in added]
    return _row(
        figures.scenario.name,
        _us(quantile(alone, 0.5)),
        _us(quantile(alone, 0.99)),
        *shown,
        _us(busy.requests / busy.seconds),
        _us(quantile(busy.latency_us, 0.99)),
    )


def _stream_table(results: Results) -> Iterator[str]:
    yield f"### Streamed answers of {ANSWER_TOKENS} chunks, as fast as the provider can, one at a time\n"
    yield _row("scenario", "first byte p50 µs", "p99 µs", "added p50 µs", "added p99 µs", "per second, c=16")
    yield _rule(5)
    base = results.direct_streamed
    for figures in (base, *(one for one in results.figures if one.scenario.streamed)):
        first, direct = figures.alone.first_us, base.alone.first_us
        added = ["", ""] if figures is base else [_us(quantile(first, q) - quantile(direct, q)) for q in (0.5, 0.99)]
        yield _row(
            figures.scenario.name,
            _us(quantile(first, 0.5)),
            _us(quantile(first, 0.99)),
            *added,
            _us(figures.busy.requests / figures.busy.seconds),
        )


def _held_table(results: Results) -> Iterator[str]:
    yield f"### Streams held at {TOKENS_PER_SECOND} tokens/s\n"
    yield _row(
        "streams at once", "tries", "silent > 100 ms", "longest silence ms", "chunks/s", "CPU µs a chunk", "of all"
    )
    yield _rule(6)
    for held in results.held:
        yield _held_row(str(held.streams), held)
    yield _held_row(f"{results.held_direct.streams}, provider alone", results.held_direct)
    without = max((held.streams for held in results.held if not held.stalled), default=0)
    more = "" if results.held[-1].stalled else " or more (no more were tried)"
    yield f"\nHeld without a silence of more than 100 ms: **{without}**{more}, with load generator and provider on the"
    yield "same cores. A try in which a stream fell silent is repeated, twice at most; the last one is shown. The last"
    yield "row says whether provider and load generator alone could have held so many."


def _held_row(name: str, held: Held) -> str:
    taken = held.taken
    chunks = max(1, taken.chunks)
    by_process = [f"{process} {taken.cpu_us[process] / chunks:.0f}" for process in ("edge", "router")]
    return _row(
        name,
        str(held.tries),
        str(held.stalled),
        f"{quantile(taken.gaps_us, 1.0) / 1000:.0f}",
        _us(taken.chunks / taken.seconds),
        ", ".join(by_process),
        f"{sum(taken.cpu_us.values()) / chunks:.0f}",
    )


def _breakdown_tables(one: Breakdown) -> Iterator[str]:
    yield f"### Where the time goes: {one.process}, {one.scenario.name}\n"
    yield f"µs a request: {_us(one.main_us)} in the main thread, {_us(one.others_us)} in others ({one.requests} asked)."
    yield ""
    yield _row("layer at work", "µs")
    yield _rule(1)
    yield from (_row(layer, _us(us)) for layer, us in one.layers)
    yield ""
    yield _row("function, with all that it calls", "µs")
    yield _rule(1)
    yield from (_row(f"`{'.'.join(step)}`", _us(us)) for step, us in one.functions[:_FUNCTIONS])


def _taken_json(taken: Taken) -> dict[str, Any]:
    return {
        "requests": taken.requests,
        "per_second": taken.requests / taken.seconds,
        "cpu_us": {name: us / max(1, taken.requests) for name, us in taken.cpu_us.items()},
        "cpu_us_all": cpu_per_request_us(taken),
        "load_cpu_us": taken.load_cpu_us / max(1, taken.requests),
        "latency_us": {"p50": quantile(taken.latency_us, 0.5), "p99": quantile(taken.latency_us, 0.99)},
        "first_us": {"p50": quantile(taken.first_us, 0.5), "p99": quantile(taken.first_us, 0.99)},
        "chunks": taken.chunks,
    }


def _held_json(held: Held) -> dict[str, Any]:
    taken = held.taken
    return {
        "streams": held.streams,
        "tries": held.tries,
        "stalled": held.stalled,
        "longest_gap_us": quantile(taken.gaps_us, 1.0),
        "chunks_per_second": taken.chunks / taken.seconds,
        "cpu_us_per_chunk": {name: us / max(1, taken.chunks) for name, us in taken.cpu_us.items()},
    }


def _us(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(figures: int) -> str:
    return f"|---|{'--:|' * figures}"
