"""The evaluation as a picture: what share of requests each rule serves, against how much of that is wrong. SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _TOP = 360, 260, 56, 40
_PANEL = _WIDTH + _LEFT + 24
_COLOURS = ("#1f5fa8", "#c4561b")


@dataclass(frozen=True, slots=True)
class Curve:
    """What a rule does at every cut of its score."""

    name: str
    points: Sequence[tuple[float, float]]
    """(share served, share of that which is wrong), from the strictest cut on."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One source of pairs."""

    title: str
    curves: Sequence[Curve]
    marks: Sequence[tuple[str, float, float]]
    """Rules at the cut that they have: name, share served, share wrong."""


def curve(name: str, scored: Sequence[tuple[float, bool]]) -> Curve:
    """The curve of pairs with their scores and whether each is right."""
    ordered = sorted(scored, key=lambda pair: -pair[0])
    wrong = 0
    points: list[tuple[float, float]] = []
    for served, (score, right) in enumerate(ordered, start=1):
        wrong += not right
        if served == len(ordered) or ordered[served][0] != score:
            points.append((served / len(ordered), wrong / served))
    step = max(1, len(points) // 200)
    return Curve(name, [*points[:-1:step], points[-1]])


def draw(panels: Sequence[Panel], target: Path) -> None:
    """Writes the picture."""
    width, height = _PANEL * len(panels) + 16, _HEIGHT + _TOP + 56
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="11" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for at, panel in enumerate(panels):
        body += [f'<g transform="translate({at * _PANEL + _LEFT},{_TOP})">', *_panel(panel), "</g>"]
    target.write_text("\n".join([*body, "</svg>"]) + "\n", encoding="utf-8")


def _panel(panel: Panel) -> list[str]:
    drawn = [f'<text x="0" y="-18" font-size="13" font-weight="bold">{escape(panel.title)}</text>']
    for tick in range(0, 11, 2):
        x, y = _place(tick / 10, tick / 10)
        drawn += [
            f'<line x1="0" y1="{y}" x2="{_WIDTH}" y2="{y}" stroke="#ddd"/>',
            f'<text x="-6" y="{y + 4}" text-anchor="end">{tick / 10:g}</text>',
            f'<text x="{x}" y="{_HEIGHT + 16}" text-anchor="middle">{tick / 10:g}</text>',
        ]
    drawn.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 34}" text-anchor="middle">share of requests served</text>')
    middle = _HEIGHT / 2
    drawn.append(
        f'<text x="-40" y="{middle}" text-anchor="middle" transform="rotate(-90 -40 {middle})">'
        "wrong among served</text>"
    )
    for number, (one, colour) in enumerate(zip(panel.curves, _COLOURS, strict=False)):
        places = " ".join(f"{x},{y}" for x, y in (_place(*point) for point in one.points))
        drawn += [
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.8"/>',
            f'<text x="8" y="{14 + 15 * number}" fill="{colour}">{escape(one.name)}</text>',
        ]
    for name, served, wrong in panel.marks:
        x, y = _place(served, wrong)
        drawn += [f'<circle cx="{x}" cy="{y}" r="4"/>', f'<text x="{x + 7}" y="{y - 5}">{escape(name)}</text>']
    return drawn


def _place(served: float, wrong: float) -> tuple[float, float]:
    return round(served * _WIDTH, 1), round((1 - wrong) * _HEIGHT, 1)
